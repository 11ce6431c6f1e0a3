"""More and fewer hosts and edges while people talk; other nodes that join and go."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.support.flow_process import FlowProcess
from tests.system.test_failover import Room, members, until

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(400)]

RAY = Path(sys.executable).parent / "ray"


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FlowProcess]:
    running = FlowProcess(tmp_path_factory.mktemp("one"))
    running.up("--no-recommender")
    yield running
    running.down()


def names(flow: FlowProcess) -> set[str]:
    return {m["name"] for m in members(flow) if m["state"] == "running"}


def changed(flow: FlowProcess, *arguments: str) -> dict[str, Any]:
    """What a change answers on standard output, which holds nothing else."""
    found: dict[str, Any] = json.loads(flow.run(*arguments, "--json").stdout)
    return found


async def test_rooms_are_whole_through_more_and_fewer_hosts_and_edges(one: FlowProcess) -> None:
    rooms = [await Room(one).open() for _ in range(4)]
    is_over = False

    async def talk(room: Room) -> None:
        while not is_over:
            await room.say(f"message {len(room.acked)}")
            await asyncio.sleep(0.05)

    talking = [asyncio.ensure_future(talk(room)) for room in rooms]
    grown = await asyncio.to_thread(changed, one, "scale", "hosts=3", "edges=2")
    assert grown == {"hosts": 3, "edges": 2, "added": ["host-1", "host-2", "edge-1"], "drained": []}
    assert {"host-0", "host-1", "host-2", "edge-0", "edge-1"} <= names(one)
    drained = await asyncio.to_thread(changed, one, "drain", "host-1")
    assert (drained["hosts"], drained["drained"]) == (2, ["host-1"])
    shrunk = await asyncio.to_thread(changed, one, "scale", "hosts=1")
    assert (shrunk["hosts"], shrunk["drained"]) == (1, ["host-2"])
    is_over = True
    await asyncio.gather(*talking)
    for room in rooms:
        await room.say("last")
        last = room.acked[-1]
        await room.bob.wait_for("chat:new_message", lambda body, last=last: body["seq"] == last)
        assert [body["seq"] for name, body in room.bob.events if name == "chat:new_message"] == room.acked
        assert room.acked == list(range(1, len(room.acked) + 1))
        await room.close()
    assert names(one) >= {"host-0", "edge-0", "edge-1"}
    assert not names(one) & {"host-1", "host-2"}


def test_a_drained_edge_does_not_come_back_and_the_last_one_stays(one: FlowProcess) -> None:
    changed(one, "scale", "edges=2")
    assert changed(one, "drain", "edge-1")["edges"] == 1
    assert "edge-1" not in names(one)
    refused = one.run("drain", "edge-0", check=False)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "[change_refused]" in refused.stderr
    assert one.status()["edges"] == 1


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["scale", "hosts=0"], "invalid_request"),
        (["scale", "hosts=65"], "invalid_request"),
        (["scale", "hosts=two"], "invalid_request"),
        (["scale", "rooms=2"], "invalid_request"),
        (["scale", "hosts=1", "hosts=2"], "invalid_request"),
        (["drain", "host-9"], "unknown_member"),
        (["drain", "host-0"], "change_refused"),
    ],
)
def test_what_cannot_be_done_says_why_and_changes_nothing(one: FlowProcess, arguments: list[str], code: str) -> None:
    before = names(one)
    done = one.run(*arguments, "--json", check=False)
    assert done.returncode == 1
    assert json.loads(done.stdout)["error"]["code"] == code
    assert names(one) == before


@pytest.fixture
def second_node(one: FlowProcess, tmp_path: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """Another node of the cluster, on this machine, joined with Ray's own command."""
    environment = {**os.environ, "RAY_AUTH_MODE": "token", "RAY_worker_niceness": "0"}
    command = [str(RAY), "start", "--address", one.status()["ray"]["address"], "--num-cpus", "2", "--block"]
    command += ["--object-store-memory", str(80 * 1024 * 1024)]
    with (tmp_path / "ray.log").open("wb") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
    yield process
    end_family(process)


def end_family(process: "subprocess.Popen[bytes]") -> None:
    if process.poll() is None:
        family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
        for one_of_it in family:
            try:
                one_of_it.send_signal(signal.SIGKILL)
            except psutil.NoSuchProcess:
                continue
        process.wait(timeout=30)


def nodes(flow: FlowProcess) -> dict[str, set[str]]:
    """Which members run on which node."""
    found: dict[str, set[str]] = {}
    for member in members(flow):
        if member["state"] == "running":
            found.setdefault(member["node"], set()).add(member["name"])
    return found


def eventually(look: Callable[[], bool], what: str) -> None:
    begun = time.monotonic()
    while not look():
        assert time.monotonic() - begun < 90, what


async def test_members_spread_over_a_node_that_joined_and_come_back_when_it_dies(
    one: FlowProcess, second_node: "subprocess.Popen[bytes]"
) -> None:
    eventually(lambda: one.status()["ray"]["nodes"] == 2, "the node did not join")
    await asyncio.to_thread(changed, one, "scale", "hosts=2", "edges=2")
    spread = nodes(one)
    assert len(spread) == 2, spread
    assert all({name.partition("-")[0] for name in held} == {"host", "edge"} for held in spread.values()), spread
    room = await Room(one).open()
    await room.say("on both nodes")
    end_family(second_node)
    await until(lambda: len(nodes(one)) == 1 and len(names(one)) >= 4, "its members did not come back")
    await until(room.is_connected, "their clients did not come back")  # their edge may have been on that node
    await room.say("on one node")
    assert room.acked == [1, 2]
    await room.close()
