"""Rooms that are claimed by the batch: who is claimed together, and what becomes of each."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace

import pytest

from actors.activation import Activation
from actors.effects import Machine
from actors.fact_sources import FactSources
from actors.limits import HostLimits
from actors.loader import Loader
from actors.room_claims import RoomClaims
from cluster.kernel.errors import INTERNAL, UNAVAILABLE, FlowError
from cluster.kernel.ids import chat_key
from cluster.kernel.tasks import TaskOwner
from storage.records import RoomHead
from tests.actors.world import World
from tests.support.memory_chat_log import MemoryChatLog


class Watched(MemoryChatLog):
    def __init__(self) -> None:
        super().__init__()
        self.batches: list[list[str]] = []
        self.error: Exception | None = None

    async def claim_many(self, room_ids: Sequence[str], window: int) -> dict[str, RoomHead]:
        self.batches.append(list(room_ids))
        if self.error is not None:
            raise self.error
        return await super().claim_many(room_ids, window)


class Claims:
    """The loader of these claims: `ends` says of each room whether it was claimed with others or sent alone."""

    def __init__(self, world: World, tasks: TaskOwner) -> None:
        self.log = Watched()
        self.world = world
        self.has_time = True
        self.is_owner = True
        self.ends: dict[str, str] = {}
        ports = replace(world.ports(), chat_log=self.log)
        self.claims = RoomClaims(ports, HostLimits(claim_batch=4), tasks, lambda: self.is_owner, self)

    def claim_alone(self, activation: Activation) -> None:
        self.ends[activation.key.id] = "alone"

    def claimed(self, activation: Activation, head: RoomHead) -> None:
        assert head.room_id == activation.key.id
        self.ends[activation.key.id] = "together"

    async def rooms(self, count: int) -> list[str]:
        rooms = [f"event:{number:024x}" for number in range(count)]
        for room in rooms:
            await self.world.events.put(room.removeprefix("event:"))
            await self.log.claim(room, "event", 1, create=True)
        return rooms

    async def load(self, *rooms: str) -> dict[str, str]:
        for room in rooms:
            self.claims.load(Activation(chat_key(room), 0))
        async with asyncio.timeout(5):
            while len(self.ends) < len(rooms):  # noqa: ASYNC110 - the loop's turns are what is waited for
                await asyncio.sleep(0)
        return self.ends


@pytest.fixture
async def claims() -> AsyncIterator[Claims]:
    owner, world = TaskOwner("claims"), World()
    yield Claims(world, owner)
    await owner.stop()
    await world.close()


async def test_who_comes_alone_is_claimed_alone_unless_too_many_are(claims: Claims) -> None:
    first, second = await claims.rooms(2)
    assert await claims.load(first) == {first: "alone"}
    claims.has_time = False
    claims.ends.clear()
    assert await claims.load(second) == {second: "together"}
    assert claims.log.batches == [[second]]


async def test_those_who_come_together_are_claimed_together_up_to_a_batch(claims: Claims) -> None:
    rooms = await claims.rooms(9)
    assert set((await claims.load(*rooms)).values()) == {"together", "alone"}
    assert claims.log.batches == [rooms[:4], rooms[4:8]]
    assert claims.ends[rooms[8]] == "alone"
    assert claims.claims.statistics() == {"claims_gathering": 0, "claim_batches": 2}


async def test_a_room_that_nobody_made_and_one_of_no_event_go_alone(claims: Claims) -> None:
    there, gone = await claims.rooms(2)
    await claims.world.events.delete(gone.removeprefix("event:"))
    pair = "dm:" + ":".join(("a" * 24, "b" * 24))
    assert await claims.load(there, gone, pair) == {there: "together", gone: "alone", pair: "alone"}
    assert claims.log.batches == [[there, pair]]


@pytest.mark.parametrize("error", [FlowError(UNAVAILABLE), ValueError("a mistake")])
async def test_a_batch_that_fails_is_claimed_one_by_one(claims: Claims, error: Exception) -> None:
    rooms = await claims.rooms(3)
    claims.log.error = error
    assert await claims.load(*rooms) == dict.fromkeys(rooms, "alone")


async def test_a_host_that_may_not_claim_asks_for_no_batch(claims: Claims) -> None:
    rooms = await claims.rooms(3)
    claims.is_owner = False
    assert await claims.load(*rooms) == dict.fromkeys(rooms, "alone")
    assert claims.log.batches == []


async def test_one_that_cannot_be_taken_in_harms_no_other(claims: Claims) -> None:
    rooms = await claims.rooms(3)
    taken: dict[str, object] = {}

    class Outcome:
        def loaded(self, activation: Activation, machine: Machine) -> None:
            if activation.key.id == rooms[1]:
                raise ValueError("a mistake")
            taken[activation.key.id] = machine.seq

        def load_failed(self, activation: Activation, error: FlowError) -> None:
            taken[activation.key.id] = error.kind

        def fetched(self, activation: Activation) -> None:
            """Nothing is fetched here."""

    tasks, ports = TaskOwner("loader"), replace(claims.world.ports(), chat_log=claims.log)
    sources = FactSources(ports, claims.world.clock, tasks)
    loader = Loader(ports, sources, HostLimits(), tasks, lambda: True, lambda _: 1)
    loader.connect(Outcome())
    for room in rooms:
        loader.load(Activation(chat_key(room), 0))
    async with asyncio.timeout(5):
        while len(taken) < len(rooms):  # noqa: ASYNC110 - the loop's turns are what is waited for
            await asyncio.sleep(0)
    assert taken == {rooms[0]: 0, rooms[1]: INTERNAL, rooms[2]: 0}
    assert (loader.statistics()["activations"], loader.statistics()["load_failures"]) == (3, 1)
    await tasks.stop()
