"""The group committer by itself: what storage is asked and what is reported, in which order."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest

from actors.activation import Activation, Item
from actors.commit import GroupCommitter
from actors.effects import DONE, Effects, Row
from actors.limits import HostLimits
from cluster.kernel.errors import UNAVAILABLE, FlowError
from cluster.kernel.ids import Key, KeyKind
from storage.records import AppendResult, Message


class Storage:
    """Keeps what it is asked until the test answers; `story` has everything in order."""

    def __init__(self, story: list[str]) -> None:
        self._story = story
        self.asked: asyncio.Queue[asyncio.Future[AppendResult]] = asyncio.Queue()

    async def append(self, rows: Sequence[Any], owed: Sequence[bool]) -> AppendResult:
        self._story.append("asked " + "".join(row.text for row in rows))
        answer: asyncio.Future[AppendResult] = asyncio.get_running_loop().create_future()
        self.asked.put_nowait(answer)
        return await answer


class Outcome:
    def __init__(self, story: list[str]) -> None:
        self._story = story
        self.bug: Exception | None = None

    def committed(self, items: Sequence[Item]) -> None:
        self._story.append("durable " + "".join(item.rows[0].text for item in items))  # type: ignore[union-attr]
        if self.bug is not None:
            bug, self.bug = self.bug, None
            raise bug

    def refused(self, item: Item, row: Row, refusal: str) -> None:
        self._story.append(f"refused {row.text}")  # type: ignore[union-attr]

    def poisoned(self, item: Item) -> None:
        self._story.append(f"poisoned {item.rows[0].text}")  # type: ignore[union-attr]

    def broken(self, activation: Activation) -> None:
        self._story.append(f"broken {activation.key.id}")


class World:
    def __init__(self, **limits: Any) -> None:
        self.story: list[str] = []
        self.storage, self.outcome = Storage(self.story), Outcome(self.story)
        self.committer = GroupCommitter(
            "chat", self.storage.append, HostLimits(**limits), self.outcome, lambda rows: None
        )

    def say(self, texts: str, room: str = "r") -> None:
        activation = Activation(Key(KeyKind.CHAT, room), 0)
        for text in texts:
            item = Item(activation, None)
            row = Message(
                id=text, room_id=room, seq=1, epoch=1, user_id="u", text=text, at_ms=0, client_message_id=text
            )
            item.effects = Effects(DONE, (row,), (True,))
            self.committer.submit(item)

    async def answer(self, stored: int, refusal: str | None = None) -> None:
        (await self.storage.asked.get()).set_result(AppendResult(stored, refusal))

    async def fail(self, error: Exception) -> None:
        (await self.storage.asked.get()).set_exception(error)


@pytest.fixture
async def world() -> AsyncIterator[World]:
    made = World(commit_backoff_s=0.0)
    running = asyncio.create_task(made.committer.run())
    yield made
    running.cancel()
    await asyncio.wait([running])


async def test_storage_has_the_next_batch_before_the_last_one_is_answered_for(world: World) -> None:
    world.say("a")
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    world.say("bc")
    assert world.story == ["asked a"], "one at a time"
    await world.answer(1)
    await world.answer(2)
    await world.committer.wait_idle()
    assert world.story == ["asked a", "asked bc", "durable a", "durable bc"]
    assert world.committer.statistics()["chat_in_flight_items"] == 0
    assert world.committer.statistics()["chat_queued_rows"] == 0


async def test_a_refusal_is_settled_before_anything_else_is_written(world: World) -> None:
    world.say("abc")
    world.say("d", "other")
    await world.answer(1, "position")
    await world.answer(1)
    await world.committer.wait_idle()
    assert world.story == ["asked abcd", "durable a", "refused b", "asked d", "durable d"]


async def test_what_is_not_known_to_be_durable_is_written_again_before_what_follows(world: World) -> None:
    world.say("a")
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    world.say("b")
    await world.fail(FlowError(UNAVAILABLE))
    for _ in range(2):
        await world.answer(1)
    await world.committer.wait_idle()
    assert world.story == ["asked a", "asked a", "asked b", "durable a", "durable b"]


async def test_a_host_that_fails_on_an_answer_gives_up_the_batch_that_followed_too(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.outcome.bug = ZeroDivisionError()
    world.say("a")
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    world.say("b", "next")
    await world.answer(1)
    await world.answer(1)
    await world.committer.wait_idle()
    assert world.story == ["asked a", "asked b", "durable a", "broken r", "broken next"]
    assert "ZeroDivisionError" in caplog.text
    world.say("c")
    await world.answer(1)
    await world.committer.wait_idle()
    assert world.story[-1] == "durable c"
    assert world.committer.statistics()["chat_in_flight_items"] == 0


async def test_ending_it_leaves_nothing_under_way() -> None:
    world = World()
    running = asyncio.create_task(world.committer.run())
    world.say("a")
    first = await world.storage.asked.get()
    world.say("b")
    first.set_result(AppendResult(1))
    second = await world.storage.asked.get()
    running.cancel()
    await asyncio.wait([running])
    assert running.cancelled()
    assert second.cancelled()
