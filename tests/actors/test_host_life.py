"""Activation, passivation, the cap, and keys that move between hosts."""

import asyncio

import pytest

from actors.limits import HostLimits, RoomLimits
from actors.messages import Position, SentMessage
from cluster.kernel.errors import MOVED, OVERLOADED, UNAVAILABLE, FlowError
from cluster.kernel.wire import decode
from cluster.placement.view import Member, View
from tests.actors.world import ALICE, BOB, CAROL, DAVE, DIRECT, Edge, HeldAppend, World


def direct(n: int) -> str:
    first, second = sorted((ALICE, f"{n:024x}"))
    return f"chat/dm:{first}:{second}"


async def test_an_idle_room_leaves_memory_and_comes_back_whole(world: World) -> None:
    host = world.host(limits=HostLimits(idle_s=60.0))
    edge = Edge(host, world.clock)
    await edge.send(DIRECT, ALICE, "1", "k1")
    world.clock.advance(59.0)
    host.sweep()
    assert host.statistics()["active"] == 1
    world.clock.advance(2.0)
    host.sweep()
    assert host.statistics()["active"] == 0
    assert host.statistics()["passivations"] == 1
    assert (await edge.send(DIRECT, ALICE, "1", "k1")).seq == 1
    assert (await edge.send(DIRECT, ALICE, "2")).seq == 2
    assert [message["text"] for message in (await edge.join(DIRECT, BOB, since=0)).messages] == ["1", "2"]


async def test_a_watched_room_stays_until_nobody_watches(world: World) -> None:
    host = world.host()
    edge = Edge(host, world.clock)
    await edge.join(DIRECT, ALICE)
    world.clock.advance(1_000.0)
    host.sweep()
    assert host.statistics()["active"] == 1
    edge.link.cut()
    world.clock.advance(1_000.0)
    host.sweep()
    assert host.statistics()["active"] == 0


async def test_past_the_cap_the_least_recently_used_idle_room_makes_room(world: World) -> None:
    host = world.host(limits=HostLimits(max_active=10))
    edge = Edge(host, world.clock)
    for n in range(200):
        world.clock.advance(0.01)
        assert (await edge.send(direct(n), ALICE, "x")).seq == 1
        assert host.statistics()["active"] <= 10
    assert host._roster.get(direct(199)) is not None
    assert host._roster.get(direct(100)) is None
    assert (await edge.send(direct(0), ALICE, "y")).seq == 2


async def test_when_all_are_busy_a_newcomer_is_refused(world: World) -> None:
    host = world.host(limits=HostLimits(max_active=2))
    edge = Edge(host, world.clock)
    await edge.join(direct(1), ALICE)
    await edge.join(direct(2), ALICE)
    with pytest.raises(FlowError) as caught:
        await edge.join(direct(3), ALICE)
    assert caught.value.kind is OVERLOADED
    assert host.statistics()["active_refused"] == 1
    edge.unwatch(direct(1))
    assert (await edge.join(direct(3), ALICE)).seq == 0


async def test_quiet_rooms_give_back_their_caches(world: World) -> None:
    host = world.host(limits=HostLimits(rooms=RoomLimits(idle_window_messages=2)))
    edge = Edge(host, world.clock)
    await edge.join(DIRECT, ALICE)
    for n in range(20):
        await edge.send(DIRECT, ALICE, f"{n}")
    world.clock.advance(10.0)
    host.sweep()
    host.sweep()
    activation = host._roster.get(DIRECT)
    assert activation is not None
    assert len(activation.machine.window) <= 2  # type: ignore[union-attr]
    joined = await edge.join(DIRECT, BOB, since=3)
    assert [message["seq"] for message in joined.messages] == list(range(4, 21))


async def test_a_key_of_another_host_is_refused_with_moved(world: World) -> None:
    host = world.host(owning=False)
    edge = Edge(host, world.clock)
    with pytest.raises(FlowError) as caught:
        await edge.join(DIRECT, ALICE)
    assert caught.value.kind is MOVED
    assert host.statistics()["moved"] == 1
    resumed = await edge.resume(Position(key=DIRECT, epoch=1, seq=4))
    assert [(item.key, item.seq, item.error) for item in resumed] == [(DIRECT, 4, "moved")]


async def test_a_view_of_another_incarnation_gives_nothing(world: World) -> None:
    host = world.host(owning=False)
    host.apply_view(View(1, (Member(host.name, "host", "an-older-life", "h:1", "node"),)))
    assert host.statistics()["shards"] == 0
    world.version = 1
    world.give_all_to(host)
    assert host.statistics()["shards"] == 1024
    host.apply_view(View(1, ()))
    assert host.statistics()["shards"] == 1024, "an older view changes nothing"


async def test_a_move_finishes_what_was_decided_and_hands_over_the_rest(world: World) -> None:
    """Invariant 8: a drain loses no acked message."""
    log = HeldAppend(world.storage.chat_log)
    old, new = world.host("host-0", chat_log=log), world.host("host-1", owning=False)
    at_old, at_new = Edge(old, world.clock), Edge(new, world.clock, "edge-0")
    await at_old.join(DIRECT, ALICE)
    log.close()
    decided = [at_old.begin_send(DIRECT, ALICE, f"{n}") for n in range(3)]
    await log.entered.wait()
    world.give_all_to(new, old)
    with pytest.raises(FlowError) as caught:
        await at_old.send(DIRECT, ALICE, "late")
    assert caught.value.kind is MOVED
    assert at_old.moved == []
    log.is_open.set()
    assert [decode(await answer, SentMessage).seq for answer in decided] == [1, 2, 3]
    await at_old.until(lambda: at_old.moved == [DIRECT])
    assert at_old.seqs(DIRECT) == [1, 2, 3], "told before it is told to ask elsewhere"
    (resumed,) = await at_new.resume(Position(key=DIRECT, epoch=1, seq=3))
    assert (resumed.seq, resumed.epoch, resumed.missed, resumed.reset) == (3, 2, (), False)
    assert (await at_new.send(DIRECT, ALICE, "late")).seq == 4
    await at_new.until(lambda: at_new.seqs(DIRECT) == [4])
    assert old.statistics()["active"] == 0


async def test_what_moves_while_it_is_loaded_is_answered(world: World) -> None:
    host, other = world.host("host-0"), world.host("host-1", owning=False)
    edge = Edge(host, world.clock)
    answer = edge.begin_send(DIRECT, ALICE, "x")
    await asyncio.sleep(0)
    world.give_all_to(other, host)
    with pytest.raises(FlowError) as caught:
        await answer
    assert caught.value.kind is MOVED
    for _ in range(20):
        await asyncio.sleep(0)
    assert host.statistics()["active"] == 0


async def test_only_what_changes_hands_moves(world: World) -> None:
    hosts = [world.host(f"host-{n}", owning=False) for n in range(2)]
    members = tuple(Member(f"host-{n}", "host", f"host-{n}-a", "h:1", "node") for n in range(2))
    hosts[0].apply_view(View(1, members[:1]))
    edge = Edge(hosts[0], world.clock)
    for n in range(60):
        await edge.join(direct(n), ALICE)
    hosts[0].apply_view(View(2, members))
    await edge.until(lambda: bool(edge.moved))
    stayed = hosts[0].statistics()["active"]
    assert stayed + len(edge.moved) == 60
    assert 10 < stayed < 50
    await edge.send(next(key for key in map(direct, range(60)) if key not in edge.moved), ALICE, "still here")


@pytest.mark.parametrize("failures", [3, 4])
async def test_loading_is_tried_again_while_the_database_is_away(world: World, failures: int) -> None:
    host = world.host(limits=HostLimits(load_attempts=4, load_backoff_s=0.001))
    edge = Edge(host, world.clock)
    world.storage.chat_log.faults.next.extend(["before"] * failures)
    if failures < 4:
        assert (await edge.send(DIRECT, ALICE, "x")).seq == 1
        return
    with pytest.raises(FlowError) as caught:
        await edge.send(DIRECT, ALICE, "x")
    assert caught.value.kind is UNAVAILABLE
    assert host.statistics()["active"] == 0
    assert (await edge.send(DIRECT, ALICE, "x")).seq == 1


async def test_stopping_writes_what_was_accepted(world: World) -> None:
    log = HeldAppend(world.storage.chat_log)
    host = world.host(chat_log=log)
    edge = Edge(host, world.clock)
    await edge.join(DIRECT, ALICE)
    log.close()
    answer = edge.begin_send(DIRECT, ALICE, "last")
    await log.entered.wait()
    stopping = asyncio.ensure_future(host.stop())
    await asyncio.sleep(0)
    with pytest.raises(FlowError) as caught:
        await edge.join(f"chat/dm:{CAROL}:{DAVE}", CAROL)
    assert caught.value.kind is UNAVAILABLE
    log.is_open.set()
    assert decode(await answer, SentMessage).seq == 1
    await stopping
    assert edge.moved == [DIRECT]
    world.hosts.remove(host)
