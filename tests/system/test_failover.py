"""Hosts that die, several at once, and one replaced while it stood still: nothing acked is lost or repeated."""

import asyncio
import os
import signal
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import psutil
import pytest

from cluster.kernel.clock import SystemClock
from cluster.kernel.ids import chat_key
from cluster.placement.membership import change
from cluster.placement.view import Member, View, replaced
from cluster.run.attached import attachment, opened
from cluster.run.control import ask
from cluster.run.installation import Installation
from tests.support.flow_process import FlowProcess, Person, new_event

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]

PATIENCE_S = 90.0


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FlowProcess]:
    running = FlowProcess(tmp_path_factory.mktemp("two"))
    running.up("--no-recommender", "--hosts", "2")
    yield running
    running.down()


def members(flow: FlowProcess) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = ask(Installation(flow.data).control_socket, "status")["members"]
    return found


def hosts(flow: FlowProcess) -> dict[str, dict[str, Any]]:
    return {m["name"]: m for m in members(flow) if m["name"].startswith("host-") and m["state"] == "running"}


async def until(look: Callable[[], bool], what: str) -> None:
    begun = time.monotonic()
    while not await asyncio.to_thread(look):
        assert time.monotonic() - begun < PATIENCE_S, what


def has_ended(process: psutil.Process) -> bool:
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


async def until_whole(flow: FlowProcess) -> None:
    def is_whole() -> bool:
        found = members(flow)
        running = [m for m in found if m["name"] in ("host-0", "host-1") and m["state"] == "running"]
        return len(running) == 2 and sum(m["state"] == "standby" for m in found) == 1 and len(found) == 4

    await until(is_whole, "two hosts, one standby and one edge")


class Room:
    """One room with a sender and a listener."""

    def __init__(self, flow: FlowProcess) -> None:
        self._flow = flow
        self.acked: list[int] = []

    async def open(self) -> "Room":
        self.ada, self.bob = await Person.register(self._flow), await Person.register(self._flow)
        event = await self.ada.call_http("POST", "/v1/events", new_event())
        self.id = f"event:{event['id']}"
        for someone in (self.ada, self.bob):
            await someone.connect("/chat")
            assert (await someone.ask("/chat", "chat:join_room", self.id))["ok"]
        return self

    async def say(self, text: str) -> None:
        """Until it is acked, as a client does; the same message every time."""
        answer = await self.ada.say(self.id, text, text)
        while not answer["ok"]:
            assert answer["error"]["retryable"], answer
            answer = await self.ada.say(self.id, text, text)
        self.acked.append(answer["seq"])

    def is_connected(self) -> bool:
        return all("/chat" in someone.socket.namespaces for someone in (self.ada, self.bob))

    async def check(self) -> None:
        last = self.acked[-1]
        await self.bob.wait_for("chat:new_message", lambda body: body["seq"] == last)
        assert [body["seq"] for name, body in self.bob.events if name == "chat:new_message"] == self.acked
        assert self.acked == list(range(1, len(self.acked) + 1))
        history = await self.bob.call_http("GET", f"/v1/rooms/{self.id}/messages")
        assert [message["seq"] for message in history["items"]] == self.acked
        assert self.bob.socket.connected

    async def close(self) -> None:
        await self.ada.close()
        await self.bob.close()


@pytest.fixture
def room(two: FlowProcess) -> Callable[[], Awaitable[Room]]:
    return Room(two).open


@pytest.mark.parametrize("killed", [["host-0"], ["host-0", "host-1"]], ids=["one", "all"])
async def test_killed_hosts_are_replaced_and_lose_nothing(two: FlowProcess, killed: list[str]) -> None:
    await until_whole(two)
    rooms = [await Room(two).open() for _ in range(4)]
    before = hosts(two)
    for room in rooms:
        await room.say("before")
    for name in killed:
        os.kill(before[name]["pid"], signal.SIGKILL)
    await asyncio.gather(*(room.say("after") for room in rooms))
    for room in rooms:
        await room.check()
        await room.close()
    await until_whole(two)
    after = hosts(two)
    for name in killed:
        assert after[name]["incarnation"] > before[name]["incarnation"]
        assert after[name]["restarts"] == before[name]["restarts"] + 1
    if len(killed) == 1:
        assert after["host-0"]["process"] != before["host-0"]["process"], "the standby has the name"


async def test_what_a_killed_host_still_owed_reaches_who_is_away_once(two: FlowProcess) -> None:
    """The host dies right after the last ack, with what these messages owe in its memory alone."""
    await until_whole(two)
    pid = hosts(two)["host-0"]["pid"]
    rooms: list[Room] = []
    while sum(owner(room.id) == "host-0" for room in rooms) < 2:
        rooms.append(await Room(two).open())
    for room in rooms:
        await room.bob.leave()
    await asyncio.gather(*(room.say(f"owed {number}") for room in rooms for number in range(3)))
    os.kill(pid, signal.SIGKILL)
    for room in rooms:
        told = await notified(room.bob, 3)
        assert sorted(told) == ["owed 0", "owed 1", "owed 2"]
        await room.close()
    await until_whole(two)


def owner(room_id: str) -> str:
    member = View(1, tuple(Member(f"host-{n}", "host", "i", "h:1", "n") for n in range(2))).host_for(chat_key(room_id))
    assert member is not None
    return member.name


async def notified(person: Person, count: int) -> list[str]:
    """What this person's notifications say, once there are so many."""
    begun = time.monotonic()
    while True:
        found = await person.call_http("GET", "/v1/notifications")
        if len(found["items"]) >= count:
            return [item["body"] for item in found["items"]]
        assert time.monotonic() - begun < PATIENCE_S, found
        await asyncio.sleep(0.2)


async def test_a_host_replaced_while_it_stood_still_ends_and_says_nothing(two: FlowProcess) -> None:
    """Another incarnation is written into the view while the host is stopped, as one on a cut-off node would see it."""
    await until_whole(two)
    room = await Room(two).open()
    await room.say("before")
    stopped = hosts(two)["host-0"]
    process = psutil.Process(stopped["pid"])
    async with opened(attachment(Installation(two.data))) as storage:
        os.kill(stopped["pid"], signal.SIGSTOP)

        def other(view: View) -> View:
            present = view.member("host-0")
            assert present is not None
            usurper = Member("host-0", "host", f"{present.incarnation}-usurper", "127.0.0.1:1", "elsewhere")
            return replaced(view, usurper)

        try:
            await change(storage.view_store, other, SystemClock())
        finally:
            os.kill(stopped["pid"], signal.SIGCONT)
    await until(lambda: has_ended(process), "it did not end")
    await room.say("after")
    await room.check()
    await room.close()
    await until_whole(two)
    log = (two.data / "logs" / f"{stopped['process']}.log").read_text()
    assert "host-0 is in other hands" in log


async def test_a_stopped_host_is_replaced_and_its_rooms_answer(two: FlowProcess) -> None:
    await until_whole(two)
    room = await Room(two).open()
    await room.say("before")
    before = hosts(two)
    for name in before:
        if name == "host-0":
            os.kill(before[name]["pid"], signal.SIGSTOP)
    await room.say("during")

    def is_another() -> bool:  # the room may live on the other host: its answer says nothing of this one
        now = hosts(two).get("host-0")
        return now is not None and now["incarnation"] != before["host-0"]["incarnation"]

    await until(is_another, "another process as host-0")
    await until_whole(two)
    await room.say("after")
    await room.check()
    await room.close()
