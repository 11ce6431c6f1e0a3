"""Invariant 3: a host that was replaced says nothing from memory, whichever road an answer would take."""

import asyncio

import pytest

from actors.host import Host
from actors.messages import Position
from cluster.kernel.errors import MOVED, FlowError
from cluster.kernel.tasks import TaskOwner
from cluster.placement.view import Member, View
from tests.actors.world import ALICE, BOB, DIRECT, Edge, HeldAppend, HeldClaim, World, turns

LEASE_S = 1.5


def view_of(version: int, incarnation: str = "host-0-a") -> View:
    return View(version, (Member("host-0", "host", incarnation, "h:1", "node"),))


def leased(world: World, **ports: object) -> Host:
    """A host that has just read a view with itself in it."""
    host = world.host(**ports)  # type: ignore[arg-type]
    host.view_was_read(host.view, world.clock.monotonic(), LEASE_S)
    return host


async def refused(answer: asyncio.Future[object]) -> bool:
    with pytest.raises(FlowError) as caught:
        await answer
    return caught.value.kind is MOVED


async def test_each_read_of_the_view_extends_what_may_be_said_from_when_it_was_asked(world: World) -> None:
    host = leased(world)
    asked_at = world.clock.monotonic()
    world.clock.advance(LEASE_S)
    assert host.may_speak()
    host.view_was_read(host.view, asked_at, LEASE_S)
    world.clock.advance(0.1)
    assert not host.may_speak(), "an answer that came late is as old as its question"
    host.view_was_read(host.view, world.clock.monotonic(), LEASE_S)
    assert host.may_speak()


@pytest.mark.parametrize("view", [View(9, ()), view_of(9, "host-0-b")])
async def test_a_view_without_this_incarnation_extends_nothing(world: World, view: View) -> None:
    host = leased(world)
    world.clock.advance(LEASE_S + 0.1)
    host.view_was_read(view, world.clock.monotonic(), LEASE_S)
    assert not host.may_speak()


async def test_after_a_standstill_every_kind_of_question_is_answered_moved(world: World) -> None:
    host = leased(world)
    edge = Edge(host, world.clock)
    await edge.join(DIRECT, ALICE)
    world.clock.advance(LEASE_S + 0.1)
    assert await refused(asyncio.ensure_future(edge.join(DIRECT, BOB)))
    assert await refused(edge.begin_send(DIRECT, ALICE, "x"))
    assert await refused(asyncio.ensure_future(edge.online(ALICE)))
    (resumed,) = await edge.resume(Position(key=DIRECT, epoch=1, seq=0))
    assert resumed.error == "moved"


async def test_what_waited_at_the_gate_through_a_standstill_is_not_acked_and_stays_true(world: World) -> None:
    log = HeldAppend(world.storage.chat_log)
    host = leased(world, chat_log=log)
    edge = Edge(host, world.clock)
    await edge.join(DIRECT, ALICE)
    log.close()
    sent = edge.begin_send(DIRECT, ALICE, "1", "k1")
    joined = asyncio.ensure_future(edge.join(DIRECT, BOB))
    await log.entered.wait()
    world.clock.advance(LEASE_S + 0.1)
    log.is_open.set()
    assert await refused(sent)
    assert await refused(joined)
    await edge.until(lambda: edge.seqs(DIRECT) == [1])
    successor = world.host("host-1", chat_log=log)
    assert (await Edge(successor, world.clock).send(DIRECT, ALICE, "1", "k1")).seq == 1


async def test_what_waited_in_the_inbox_through_a_standstill_is_not_decided(world: World) -> None:
    log = HeldClaim(world.storage.chat_log)
    log.is_open.clear()
    host = leased(world, chat_log=log)
    sent = Edge(host, world.clock).begin_send(DIRECT, ALICE, "1")
    await log.entered.wait()
    world.clock.advance(LEASE_S + 0.1)
    log.is_open.set()
    assert await refused(sent)
    successor = Edge(world.host("host-1"), world.clock)
    assert (await successor.join(DIRECT, ALICE)).seq == 0


async def test_a_key_is_not_claimed_after_a_standstill(world: World) -> None:
    host = leased(world)
    sent = Edge(host, world.clock).begin_send(DIRECT, ALICE, "1")
    world.clock.advance(LEASE_S + 0.1)
    assert await refused(sent)
    assert (await Edge(world.host("host-1"), world.clock).send(DIRECT, ALICE, "1")).epoch == 1


async def test_a_resume_answered_in_part_before_a_standstill_says_moved_for_all(world: World) -> None:
    claim = HeldClaim(world.storage.chat_log)
    host = leased(world, chat_log=claim)
    edge = Edge(host, world.clock)
    await edge.send(DIRECT, ALICE, "1")
    other = f"chat/dm:{ALICE}:{'e' * 24}"
    claim.is_open.clear()
    asked = asyncio.ensure_future(
        edge.resume(Position(key=DIRECT, epoch=1, seq=0), Position(key=other, epoch=0, seq=0))
    )
    await claim.entered.wait()
    world.clock.advance(LEASE_S + 0.1)
    claim.is_open.set()
    assert [item.error for item in await asked] == ["moved", "moved"]
    await turns()
    assert edge.told == {}


async def test_a_host_that_sees_its_successor_says_so_once_and_acks_nothing_more(world: World) -> None:
    fenced: list[str] = []
    log = HeldAppend(world.storage.chat_log)
    host = world.host(owning=False, chat_log=log)
    host._on_fenced = lambda: fenced.append("fenced")
    host.apply_view(view_of(1))
    edge = Edge(host, world.clock)
    log.close()
    sent = edge.begin_send(DIRECT, ALICE, "1")
    await log.entered.wait()
    host.apply_view(view_of(2, "host-0-b"))
    log.is_open.set()
    assert await refused(sent)
    host.apply_view(view_of(3, "host-0-c"))
    assert fenced == ["fenced"]


async def test_a_host_that_is_not_announced_yet_is_not_fenced(world: World) -> None:
    fenced: list[str] = []
    host = Host(
        "host-0", "host-0-b", world.ports(), world.host("host-9")._limits, world.clock, TaskOwner("t"),
        on_fenced=lambda: fenced.append("fenced"),
    )  # fmt: skip
    host.apply_view(view_of(1))
    assert fenced == []
