"""Commands find their host, in order, through moves and broken links. Hosts are scripted; links are local."""

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from actors.messages import Command, Done, PublishToTopic, SentMessage, Typing, Unread
from cluster.kernel.clock import SystemClock
from cluster.kernel.errors import (
    DEADLINE_EXCEEDED,
    FENCED,
    FORBIDDEN,
    INTERNAL,
    MOVED,
    OVERLOADED,
    UNAVAILABLE,
    FlowError,
)
from cluster.kernel.ids import Key, chat_key, topic_key
from cluster.kernel.wire import decode
from cluster.link.port import LinkClient, Peer, Request
from cluster.placement.view import View
from realtime.limits import EdgeLimits
from realtime.router import Router
from tests.support.journal import Journal
from tests.support.local_link import LocalLink

KEY = chat_key("a" * 24)


class ScriptedHost:
    """A service that answers each command with what `answer` says; None leaves it unanswered."""

    def __init__(self, answer: Callable[[Command], Any] = lambda command: Done()) -> None:
        self.answer = answer
        self.seen: list[str] = []
        self.came = asyncio.Event()

    def peer_connected(self, peer: Peer) -> None: ...

    def peer_lost(self, peer: Peer) -> None: ...

    def note(self, peer: Peer, topic: str, body: msgspec.Raw) -> None: ...

    def request(self, request: Request) -> None:
        command = decode(request.body, Command)
        self.seen.append(f"{command.connection}:{command.name}:{decode(command.body, dict).get('is_typing')}")
        self.came.set()
        answer = self.answer(command)
        if isinstance(answer, FlowError):
            request.fail(answer)
        elif answer is not None:
            request.reply(answer)


class Listener:
    def connected(self) -> None: ...

    def disconnected(self, reason: str) -> None: ...

    def pushed(self, topic: str, body: msgspec.Raw) -> None: ...


class Cluster:
    """Links by name; `owner` is where every key lives. `refreshes` counts how often a newer view was wanted."""

    def __init__(self, *hosts: ScriptedHost, **limits: Any) -> None:
        self.links = [LocalLink(host, Listener()) for host in hosts]
        for link in self.links:
            link.connect()
        self.owner: int | None = 0
        self.refreshes = 0
        self.view = View()
        self.on_refresh: Callable[[], None] = lambda: None
        self.router = Router(self, self.refresh, EdgeLimits(**limits), SystemClock())

    def link_for(self, key: Key) -> LinkClient:
        if self.owner is None:
            raise FlowError(UNAVAILABLE)
        return self.links[self.owner]

    def refresh(self) -> None:
        self.refreshes += 1
        self.on_refresh()

    def move_to(self, owner: int) -> None:
        self.owner = owner
        self.router.changed()

    def send(self, value: bool = True, connection: str = "c", timeout_s: float = 2.0, name: str = "chat.join") -> Any:
        return self.router.command(
            "u", KEY, name, Typing(is_typing=value), Done, connection=connection, timeout_s=timeout_s
        )


async def until(holds: Callable[[], object]) -> None:
    async with asyncio.timeout(5):
        while not holds():  # noqa: ASYNC110 - nothing to wait on but the loop itself
            await asyncio.sleep(0)


async def refused(call: Any) -> FlowError:
    with pytest.raises(FlowError) as caught:
        await call
    return caught.value


async def test_the_answer_and_the_refusals_of_a_host_come_back():
    cluster = Cluster(ScriptedHost())
    assert await cluster.send() == Done()
    cluster = Cluster(ScriptedHost(lambda _: FlowError(FORBIDDEN)))
    assert (await refused(cluster.send())).kind is FORBIDDEN
    cluster = Cluster(ScriptedHost(lambda _: FlowError(UNAVAILABLE)))
    assert (await refused(cluster.send())).kind is UNAVAILABLE
    cluster = Cluster(ScriptedHost(lambda _: Unread(unread=1)))
    assert (await refused(cluster.router.command("u", KEY, "chat.send", Done(), SentMessage))).kind is INTERNAL
    assert cluster.router.statistics()["commands_under_way"] == 0


async def test_a_moved_key_is_followed_to_its_owner():
    old, new = ScriptedHost(lambda _: FlowError(MOVED)), ScriptedHost()
    cluster = Cluster(old, new)
    cluster.on_refresh = lambda: cluster.move_to(1)
    assert await cluster.send() == Done()
    assert (len(old.seen), len(new.seen), cluster.refreshes) == (1, 1, 1)


@pytest.mark.parametrize("kind", [MOVED, FENCED])
async def test_moved_is_tried_three_times_and_never_told(kind):
    host = ScriptedHost(lambda _: FlowError(kind))
    cluster = Cluster(host)
    cluster.on_refresh = cluster.router.changed
    error = await refused(cluster.send())
    assert (error.kind, len(host.seen)) == (UNAVAILABLE, 3)
    assert error.retry_after_ms


async def test_what_was_not_sent_waits_for_a_link():
    host = ScriptedHost()
    cluster = Cluster(host)
    cluster.links[0].cut()
    waiting = asyncio.ensure_future(cluster.send())
    await until(lambda: cluster.router.statistics()["commands_waiting_for_link"])
    cluster.links[0].connect()
    cluster.router.changed()
    assert await waiting == Done()


async def test_without_a_host_the_answer_is_unavailable_within_the_deadline():
    cluster = Cluster(ScriptedHost())
    cluster.owner = None
    error = await refused(cluster.send(timeout_s=0.05))
    assert (error.kind, bool(error.retry_after_ms)) == (UNAVAILABLE, True)
    assert cluster.refreshes


async def test_no_answer_in_time_is_said_so():
    cluster = Cluster(ScriptedHost(lambda _: None))
    assert (await refused(cluster.send(timeout_s=0.05))).kind is DEADLINE_EXCEEDED


async def break_under(cluster: Cluster, host: ScriptedHost, call: Any) -> Any:
    """Cut the link when the command has arrived and before it is answered; then all is well again."""
    task = asyncio.ensure_future(call)
    await host.came.wait()
    host.answer = lambda _: Done()
    cluster.links[0].cut()
    cluster.links[0].connect()
    cluster.links[0].cut()
    await until(lambda: cluster.router.statistics()["commands_waiting_for_link"] or task.done())
    cluster.links[0].connect()
    cluster.router.changed()
    return await task


async def test_a_command_is_sent_once_more_when_its_link_breaks():
    host = ScriptedHost(lambda _: None)
    cluster = Cluster(host)
    assert await break_under(cluster, host, cluster.send()) == Done()
    assert len(host.seen) == 2


async def test_what_would_be_seen_twice_is_not_sent_once_more():
    host = ScriptedHost(lambda _: None)
    cluster = Cluster(host)
    publish = PublishToTopic(name="event:new", body={})
    call = cluster.router.command("u", topic_key("interest:x"), "topic.publish", publish, Done)
    assert (await refused(break_under(cluster, host, call))).kind is UNAVAILABLE
    assert len(host.seen) == 1


async def test_the_order_of_one_connection_is_kept_through_a_move():
    moved = iter([True, True, True])
    old = ScriptedHost(lambda _: FlowError(MOVED) if next(moved, False) else Done())
    new = ScriptedHost()
    cluster = Cluster(old, new)
    first = [asyncio.ensure_future(cluster.send(number % 2 == 0, name=f"chat.{number}")) for number in range(3)]
    await old.came.wait()
    cluster.move_to(1)
    later = [asyncio.ensure_future(cluster.send(name=f"chat.{number}")) for number in range(3, 6)]
    assert await asyncio.gather(*first, *later) == [Done()] * 6
    assert [seen.split(":")[1] for seen in new.seen] == [f"chat.{number}" for number in range(6)]
    assert cluster.router.statistics()["command_lanes"] == 0


async def test_commands_of_one_connection_are_pipelined_on_one_link():
    held: list[Command] = []
    host = ScriptedHost(held.append)
    cluster = Cluster(host)
    tasks = [asyncio.ensure_future(cluster.send(timeout_s=0.2)) for _ in range(5)]
    await until(lambda: len(host.seen) == 5)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert cluster.router.statistics()["command_lanes"] == cluster.router.statistics()["commands_under_way"] == 0


async def test_other_connections_do_not_wait_for_a_line():
    old, new = ScriptedHost(lambda _: None), ScriptedHost()
    cluster = Cluster(old, new)
    stuck = asyncio.ensure_future(cluster.send(connection="slow"))
    await old.came.wait()
    cluster.move_to(1)
    assert await cluster.send(connection="fast") == Done()
    assert await cluster.send(connection="") == Done()
    behind = asyncio.ensure_future(cluster.send(connection="slow", timeout_s=0.05))
    assert (await refused(behind)).kind is UNAVAILABLE
    stuck.cancel()
    await asyncio.gather(stuck, return_exceptions=True)


async def test_only_so_many_commands_are_under_way():
    cluster = Cluster(ScriptedHost(lambda _: None), max_requests=2)
    tasks = [asyncio.ensure_future(cluster.send(timeout_s=0.1)) for _ in range(2)]
    await asyncio.sleep(0)
    error = await refused(cluster.send())
    assert (error.kind, bool(error.retry_after_ms)) == (OVERLOADED, True)
    await asyncio.gather(*tasks, return_exceptions=True)


class Asked:
    """What `ask` was answered, in order; `wait` for so many."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.answers = Journal()

    def ask(self, name: str = "chat.join", connection: str = "c") -> None:
        def answered(answer: Done | FlowError) -> None:
            kind = answer.kind if isinstance(answer, FlowError) else answer
            self.answers.add((name, kind))

        self.cluster.router.ask("u", KEY, name, Typing(is_typing=True), Done, answered, connection=connection)

    async def wait(self, count: int) -> list[Any]:
        await self.answers.until(lambda entries: len(entries) >= count)
        return [kind for _, kind in self.answers.entries]

    @property
    def left_behind(self) -> float:
        statistics = self.cluster.router.statistics()
        return statistics["command_lanes"] + statistics["commands_under_way"] + statistics["commands_waiting_for_link"]


async def test_what_is_asked_without_a_task_is_answered_and_refused_alike():
    asked = Asked(Cluster(ScriptedHost()))
    asked.ask()
    assert asked.answers.entries == []
    assert await asked.wait(1) == [Done()]
    for answer, kind in ((FlowError(FORBIDDEN), FORBIDDEN), (FlowError(UNAVAILABLE), UNAVAILABLE)):
        asked = Asked(Cluster(ScriptedHost(lambda _, answer=answer: answer)))
        asked.ask()
        assert await asked.wait(1) == [kind]
        assert not asked.left_behind
    asked = Asked(Cluster(ScriptedHost(lambda _: Unread(unread=1))))
    asked.cluster.router.ask("u", KEY, "chat.send", Done(), SentMessage, asked.answers.add)
    await asked.answers.until(len)
    assert asked.answers.entries[0].kind is INTERNAL
    assert not asked.left_behind


async def test_what_is_asked_without_a_task_is_told_of_its_deadline():
    asked = Asked(Cluster(ScriptedHost(lambda _: None), command_timeout_s=0.05))
    asked.ask()
    assert await asked.wait(1) == [DEADLINE_EXCEEDED]
    asked.cluster.owner = None
    asked.ask()
    assert await asked.wait(2) == [DEADLINE_EXCEEDED, UNAVAILABLE]
    assert not asked.left_behind


@pytest.mark.parametrize("tries", [1, 3])
async def test_what_is_asked_without_a_task_follows_its_key(tries: int):
    moved = iter([True] * tries)
    host = ScriptedHost(lambda _: FlowError(MOVED) if next(moved, False) else Done())
    asked = Asked(Cluster(host))
    asked.cluster.on_refresh = asked.cluster.router.changed
    asked.ask()
    assert await asked.wait(1) == [Done() if tries < 3 else UNAVAILABLE]
    assert not asked.left_behind


@pytest.mark.parametrize("name", ["chat.join", "chat.typing"])
async def test_what_is_asked_without_a_task_is_sent_once_more_when_its_link_breaks(name: str):
    host = ScriptedHost(lambda _: None)
    asked = Asked(Cluster(host))
    asked.ask(name)
    await host.came.wait()
    host.answer = lambda _: Done()
    asked.cluster.links[0].cut()
    asked.cluster.links[0].connect()
    asked.cluster.router.changed()
    once = name == "chat.typing"  # which would be seen twice
    assert await asked.wait(1) == [UNAVAILABLE if once else Done()]
    assert len(host.seen) == (1 if once else 2)
    assert not asked.left_behind


async def test_who_asks_and_who_commands_stand_in_one_line():
    moved = iter([True, True])
    old = ScriptedHost(lambda _: FlowError(MOVED) if next(moved, False) else Done())
    new = ScriptedHost()
    asked = Asked(Cluster(old, new))
    cluster = asked.cluster
    asked.ask("chat.0")
    task = asyncio.ensure_future(cluster.send(name="chat.1"))
    await old.came.wait()
    cluster.move_to(1)
    asked.ask("chat.2")
    later = asyncio.ensure_future(cluster.send(name="chat.3"))
    await asyncio.sleep(0)
    asked.ask("chat.4")
    assert await asyncio.gather(task, later) == [Done()] * 2
    assert await asked.wait(3) == [Done()] * 3
    assert [seen.split(":")[1] for seen in new.seen] == [f"chat.{number}" for number in range(5)]
    assert not asked.left_behind


async def test_a_router_that_stops_answers_what_waits_and_takes_up_nothing():
    host = ScriptedHost(lambda _: None)
    asked = Asked(Cluster(host))
    asked.ask("chat.0")
    asked.cluster.links[0].pause()
    asked.cluster.owner = None
    asked.ask("chat.1", connection="d")
    await until(lambda: asked.cluster.router.statistics()["commands_waiting_for_link"])
    await asked.cluster.router.stop()
    with pytest.raises(FlowError) as caught:
        asked.ask("chat.2", connection="e")
    assert caught.value.kind is UNAVAILABLE
    asked.cluster.links[0].cut()
    assert asked.answers.entries == [("chat.0", UNAVAILABLE)]
    assert not asked.left_behind
