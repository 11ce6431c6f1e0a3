"""A host and clients or edges that come back: exactly what was missed, nothing twice, nothing before its answer."""

import asyncio

import pytest

from actors.limits import HostLimits, RoomLimits
from actors.messages import JoinedRoom, JoinRoom, Position
from cluster.kernel.wire import decode
from tests.actors.world import ALICE, BOB, CAROL, DIRECT, Edge, HeldAppend, HeldClaim, World, turns


async def test_a_watch_begins_exactly_at_the_answers_position(world: World) -> None:
    host = world.host()
    writer, reader = Edge(host, world.clock), Edge(host, world.clock, "edge-1")
    await writer.join(DIRECT, ALICE)
    answers = []
    for n in range(40):
        answers.append(writer.begin_send(DIRECT, ALICE, f"{n}"))
        if n == 20:
            join = reader.begin(DIRECT, "chat.join", BOB, JoinRoom(since=0), watch=True)
    await asyncio.gather(*answers)
    joined = decode(await join, JoinedRoom)
    await reader.until(lambda: bool(reader.told[DIRECT]) and reader.seqs(DIRECT)[-1] == 40)
    assert joined.recovered
    assert [message["seq"] for message in joined.messages] == list(range(1, joined.seq + 1))
    assert reader.seqs(DIRECT) == list(range(joined.seq + 1, 41))


async def test_what_came_before_a_watch_leaves_before_its_answer(world: World) -> None:
    log = HeldAppend(world.storage.chat_log)
    edge = Edge(world.host(chat_log=log), world.clock)
    await edge.join(DIRECT, ALICE)
    log.close()
    ack = edge.begin_send(DIRECT, ALICE, "one")
    await log.entered.wait()
    join = edge.begin(DIRECT, "chat.join", BOB, JoinRoom(), watch=True)
    was_joined: list[bool] = []
    hear = edge.pushed

    def pushed(topic: str, body: object) -> None:
        was_joined.append(join.done())
        hear(topic, body)  # type: ignore[arg-type]

    edge.pushed = pushed  # type: ignore[method-assign]
    await turns()
    log.is_open.set()
    await asyncio.gather(ack, join)
    assert was_joined == [False]


async def test_what_is_missed_is_whole_while_messages_are_on_their_way(world: World) -> None:
    log = HeldAppend(world.storage.chat_log)
    edge = Edge(world.host(chat_log=log, limits=HostLimits(rooms=RoomLimits(window_messages=2))), world.clock)
    for n in range(5):
        await edge.send(DIRECT, ALICE, f"{n}")
    log.close()
    on_their_way = [edge.begin_send(DIRECT, ALICE, f"{n}") for n in range(5, 9)]
    await log.entered.wait()
    join = edge.begin(DIRECT, "chat.join", BOB, JoinRoom(since=0))
    await turns()
    log.is_open.set()
    await asyncio.gather(*on_their_way)
    joined = decode(await join, JoinedRoom)
    assert joined.recovered
    assert [message["text"] for message in joined.messages] == [f"{n}" for n in range(9)]


@pytest.mark.parametrize("missed", [0, 3, 40])
async def test_a_client_that_comes_back_gets_exactly_what_it_missed(world: World, missed: int) -> None:
    limits = HostLimits(rooms=RoomLimits(window_messages=8))
    edge = Edge(world.host(limits=limits), world.clock)
    for n in range(40):
        await edge.send(DIRECT, ALICE, f"{n}")
    joined = await edge.join(DIRECT, BOB, since=40 - missed)
    assert joined.recovered
    assert [message["seq"] for message in joined.messages] == list(range(41 - missed, 41))


async def test_what_cannot_be_recovered_is_said_and_the_newest_page_given(world: World) -> None:
    limits = HostLimits(rooms=RoomLimits(window_messages=8, catch_up_messages=10, page_messages=5))
    edge = Edge(world.host(limits=limits), world.clock)
    for n in range(20):
        await edge.send(DIRECT, ALICE, f"{n}")
    for since in (0, 9, 21, 1_000):
        joined = await edge.join(DIRECT, BOB, since=since)
        assert not joined.recovered
        assert [message["seq"] for message in joined.messages] == [16, 17, 18, 19, 20]
    assert (await edge.join(DIRECT, BOB, since=10)).recovered


async def test_an_edge_resumes_with_nothing_seen_and_misses_nothing(world: World) -> None:
    host = world.host()
    writer, reader = Edge(host, world.clock), Edge(host, world.clock, "edge-1")
    await reader.join(DIRECT, BOB)
    reader.link.cut()
    for n in range(5):
        await writer.send(DIRECT, ALICE, f"{n}")
    reader.link.connect()
    answers = [writer.begin_send(DIRECT, ALICE, f"{n}") for n in range(5, 10)]
    (resumed,) = await reader.resume(Position(key=DIRECT, epoch=1, seq=0))
    await asyncio.gather(*answers)
    answers = [writer.begin_send(DIRECT, ALICE, f"{n}") for n in range(10, 15)]
    await asyncio.gather(*answers)
    await reader.until(lambda: bool(reader.told[DIRECT]) and reader.seqs(DIRECT)[-1] == 15)
    assert not resumed.reset
    assert [d.seq for d in resumed.missed] + reader.seqs(DIRECT) == list(range(1, 16))
    assert [d.body["text"] for d in resumed.missed] + reader.texts(DIRECT) == [f"{n}" for n in range(15)]


async def test_deliveries_wait_for_the_answer_to_a_resume(world: World) -> None:
    """A hot room answers at once, a cold one takes its time: what the hot one tells meanwhile comes after."""
    held = HeldClaim(world.storage.chat_log)
    host = world.host(chat_log=held)
    writer, reader = Edge(host, world.clock), Edge(host, world.clock, "edge-1")
    await writer.send(DIRECT, ALICE, "0")
    held.is_open.clear()
    cold = f"chat/dm:{ALICE}:{CAROL}"
    asked = asyncio.ensure_future(
        reader.resume(Position(key=DIRECT, epoch=1, seq=0), Position(key=cold, epoch=0, seq=0))
    )
    await held.entered.wait()
    await writer.send(DIRECT, ALICE, "1")
    await writer.send(DIRECT, ALICE, "2")
    await turns()
    assert reader.told[DIRECT] == []
    held.is_open.set()
    hot, _ = await asked
    assert [d.seq for d in hot.missed] == [1]
    await reader.until(lambda: reader.seqs(DIRECT) == [2, 3])


async def test_a_key_that_leaves_while_a_resume_is_answered_is_asked_for_again(world: World) -> None:
    held = HeldClaim(world.storage.chat_log)
    host, other = world.host(chat_log=held), world.host("host-1", owning=False)
    edge = Edge(host, world.clock)
    await edge.send(DIRECT, ALICE, "0")
    held.is_open.clear()
    cold = f"chat/dm:{ALICE}:{CAROL}"
    asked = asyncio.ensure_future(edge.resume(Position(key=DIRECT, epoch=1, seq=0), Position(key=cold, epoch=0, seq=0)))
    await held.entered.wait()
    world.give_all_to(other, host)
    held.is_open.set()
    assert [item.error for item in await asked] == ["moved", "moved"]


async def test_more_than_a_cork_holds_is_asked_for_again(world: World) -> None:
    held = HeldClaim(world.storage.chat_log)
    host = world.host(chat_log=held, limits=HostLimits(max_corked_bytes=1_000))
    writer, reader = Edge(host, world.clock), Edge(host, world.clock, "edge-1")
    await writer.send(DIRECT, ALICE, "0")
    held.is_open.clear()
    cold = f"chat/dm:{ALICE}:{CAROL}"
    asked = asyncio.ensure_future(
        reader.resume(Position(key=DIRECT, epoch=1, seq=0), Position(key=cold, epoch=0, seq=0))
    )
    await held.entered.wait()
    for n in range(1, 20):
        await writer.send(DIRECT, ALICE, f"{n}")
    held.is_open.set()
    assert [item.error for item in await asked] == ["overloaded", ""]
    (again,) = await reader.resume(Position(key=DIRECT, epoch=1, seq=0))
    assert [delivery.seq for delivery in again.missed] == list(range(1, 21))


async def test_an_answer_to_resume_is_bounded_in_bytes(world: World) -> None:
    host = world.host(limits=HostLimits(max_resumed_bytes=3_000))
    edge = Edge(host, world.clock)
    keys = [DIRECT, f"chat/dm:{ALICE}:{CAROL}"]
    for key in keys:
        for n in range(10):
            await edge.send(key, ALICE, f"{n}")
    positions = [Position(key=key, epoch=1, seq=0) for key in keys]
    first, second = await edge.resume(*positions)
    assert (len(first.missed), first.error, second.error) == (10, "", "overloaded")
    assert host.statistics()["watches"] == 1
    (again,) = await edge.resume(positions[1])
    assert len(again.missed) == 10


async def test_a_resume_answers_what_is_ready_in_time(world: World) -> None:
    held = HeldClaim(world.storage.chat_log)
    host = world.host(chat_log=held, limits=HostLimits(resume_share=0.0))
    edge = Edge(host, world.clock)
    await edge.send(DIRECT, ALICE, "0")
    held.is_open.clear()
    cold = f"chat/dm:{ALICE}:{CAROL}"
    ready, late = await edge.resume(Position(key=DIRECT, epoch=1, seq=0), Position(key=cold, epoch=0, seq=0))
    assert ([delivery.seq for delivery in ready.missed], ready.error, late.error) == ([1], "", "deadline_exceeded")
    held.is_open.set()
    await turns(20)
    assert host.statistics()["watches"] == 1, "what came too late is not watched"
