"""Stopping, starting and refusing: the command line as scripts use it."""

import json
import os
import signal
import uuid
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.support.flow_process import FlowProcess, Person

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]


@pytest.fixture
def own(tmp_path: Path) -> Iterator[FlowProcess]:
    """A Flow of the test's own, without the recommender, which these tests have no use for."""
    installation = FlowProcess(tmp_path / "flow")
    yield installation
    installation.down()


def processes_of(installation: FlowProcess) -> list[psutil.Process]:
    return [psutil.Process(part["pid"]) for part in installation.status()["processes"] if part.get("pid")]


async def test_everything_is_still_there_after_a_restart(own: FlowProcess) -> None:
    own.up("--no-recommender")
    running = processes_of(own)
    ada = await Person.register(own)
    event = await ada.call_http("POST", "/v1/events", {**NEW_EVENT})
    await ada.connect("/chat")
    room_id = f"event:{event['id']}"
    await ada.ask("/chat", "chat:join_room", room_id)
    sent = [await ada.say(room_id, f"message {index}") for index in range(3)]
    await ada.close()
    own.run("down")
    _, alive = psutil.wait_procs(running, timeout=10)
    assert not alive
    assert own.run("status", check=False).returncode == 3
    own.up("--no-recommender")
    again = Person(own, ada.username, own.token(ada.username), ada.id)
    await again.connect("/chat")
    joined = await again.ask("/chat", "chat:join_room", {"roomId": room_id, "since": sent[0]["seq"]})
    assert joined["recovered"] is True
    assert [message["text"] for message in joined["messages"]] == ["message 1", "message 2"]
    await again.close()


def test_two_installations_run_side_by_side_and_one_may_not_take_anothers_place(
    flow: FlowProcess, own: FlowProcess, tmp_path: Path
) -> None:
    own.up("--no-recommender", "--edges", "2", "--hosts", "2")
    names = {part["name"] for part in own.status()["processes"]}
    assert {"host-0", "host-1", "edge-0", "edge-1"} <= names
    assert flow.token(f"t{uuid.uuid4().hex[:8]}").count(".") == 2
    same_directory = own.run("up", "--detach", "--port", "0", check=False)
    assert (same_directory.returncode, "data_directory_in_use" in same_directory.stderr) == (1, True)
    other = FlowProcess(tmp_path / "other")
    other.port = own.port
    same_port = other.run("up", "--detach", "--port", str(own.port), "--no-recommender", check=False)
    assert (same_port.returncode, "port_in_use" in same_port.stderr) == (1, True)


def test_nothing_is_left_when_the_supervisor_is_killed(own: FlowProcess) -> None:
    own.up("--no-recommender")
    running = processes_of(own)
    supervisor = own.pid("supervisor")
    os.kill(supervisor, signal.SIGKILL)
    # The guard sees at once that the supervisor is gone; left to themselves, Ray's agents would stay for a minute.
    _, alive = psutil.wait_procs(running, timeout=20)
    assert not alive, [process.cmdline() for process in alive]
    own.up("--no-recommender")
    assert own.status()["url"] == own.url


def test_commands_without_a_running_flow_say_so(tmp_path: Path) -> None:
    nothing = FlowProcess(tmp_path / "nothing")
    for command in (["status", "--json"], ["down"], ["token", "ada"]):
        done = nothing.run(*command, check=False)
        assert done.returncode == 3, command
        assert "not_running" in done.stderr, command


def test_doctor_speaks_json(tmp_path: Path) -> None:
    done = FlowProcess(tmp_path / "nothing").run("doctor", "--json", check=False)
    assert json.loads(done.stdout)["checks"]


NEW_EVENT = {
    "title": "A morning run",
    "description": "Slow.",
    "category": "sport",
    "tags": ["run"],
    "datetime": {"start": "2030-06-01T06:00:00Z", "end": "2030-06-01T07:00:00Z", "timezone": "UTC"},
    "location": {"type": "Point", "coordinates": [2.35, 48.85], "address": "Paris", "venue": "The park"},
    "visibility": "public",
}
