"""A host and event rooms: answers are durable before they are told, seats hold under races, changes reach watchers."""

import asyncio
import random
from typing import Any

import pytest

from actors.limits import HostLimits, RoomLimits
from actors.messages import AnswerRsvp, EventSnapshot, Position, RsvpAnswer
from cluster.kernel.errors import EVENT_NOT_FOUND, FORBIDDEN, REQUIREMENTS_NOT_MET, FlowError
from cluster.kernel.wire import decode
from storage.records import Rsvp, User
from tests.actors.world import ALICE, BOB, CAROL, DAVE, Edge, HeldAppend, World

EVENT_ID = "e" * 24
EVENT = f"event/{EVENT_ID}"


def begin(edge: Edge, user: str, status: str) -> "asyncio.Future[Any]":
    return edge.begin(EVENT, "event.rsvp", user, AnswerRsvp(status=status))


async def rsvp(edge: Edge, user: str, status: str) -> RsvpAnswer:
    return decode(await begin(edge, user, status), RsvpAnswer)


async def rsvp_at_last(edge: Edge, user: str, status: str) -> RsvpAnswer:
    """As a client does: what may be tried again is tried again."""
    while True:
        try:
            return await rsvp(edge, user, status)
        except FlowError as error:
            if not error.kind.retryable:
                raise


async def watch(edge: Edge, user: str = DAVE) -> EventSnapshot:
    return await edge.ask(EVENT, "event.watch", user, None, EventSnapshot, watch=True)


async def row(world: World, user: str) -> Rsvp:
    stored = await world.storage.rsvps.rsvp(EVENT_ID, user)
    assert stored is not None
    return stored


async def test_the_last_seat_the_line_and_the_promotion(world: World) -> None:
    """Invariant 10: capacity is never oversold."""
    await world.events.put(EVENT_ID, capacity=1)
    edge = Edge(world.host(), world.clock)
    await watch(edge)
    assert (await rsvp(edge, ALICE, "going")).status == "going"
    second, third = await rsvp(edge, BOB, "going"), await rsvp(edge, CAROL, "going")
    assert [(second.status, second.place), (third.status, third.place)] == [("waiting", 1), ("waiting", 2)]
    owed = world.owed
    assert (await rsvp(edge, ALICE, "declined")).attending == 1
    assert (await row(world, BOB)).promoted
    assert ((await row(world, BOB)).seat, (await row(world, ALICE)).seat) == (1, None)
    assert world.owed == owed + 2, "hers and the one that moved up"
    owing = {owed.rsvp.user_id: owed for owed in await world.storage.rsvps.lease_owed("w", 0, 1, 9)}
    assert owing.keys() == {ALICE, BOB, CAROL}
    assert [one.status for one in owing[ALICE].earlier] == ["going"]
    assert [one.status for one in owing[BOB].earlier] == ["waiting"]
    assert (await rsvp(edge, CAROL, "going")).place == 1
    await edge.until(lambda: len(edge.told[EVENT]) == 2)
    assert edge.seqs(EVENT) == [1, 2]
    assert edge.told[EVENT][-1].body == {"eventId": EVENT_ID, "attending": 1, "interested": 0, "capacity": 1}


async def test_an_answer_is_durable_before_it_is_told(world: World) -> None:
    await world.events.put(EVENT_ID, capacity=1)
    ledger = HeldAppend(world.storage.rsvps)
    edge = Edge(world.host(rsvps=ledger), world.clock)
    await watch(edge)
    ledger.close()
    going = begin(edge, ALICE, "going")
    await ledger.entered.wait()
    looking = edge.begin(EVENT, "event.watch", BOB, None)
    for _ in range(10):
        await asyncio.sleep(0)
    assert not going.done()
    assert not looking.done()
    assert edge.told[EVENT] == []
    ledger.is_open.set()
    assert decode(await going, RsvpAnswer).status == "going"
    assert decode(await looking, EventSnapshot).attending == 1


async def test_interest_is_told(world: World) -> None:
    await world.events.put(EVENT_ID)
    edge = Edge(world.host(), world.clock)
    await watch(edge)
    await edge.ask(EVENT, "event.interested", ALICE)
    await edge.ask(EVENT, "event.interested", ALICE)
    await edge.until(lambda: len(edge.told[EVENT]) == 2)
    interest, counts = edge.told[EVENT]
    assert (interest.name, interest.body) == (
        "event:interest_update",
        {"eventId": EVENT_ID, "userId": ALICE, "action": "interested"},
    )
    assert (counts.name, counts.body["interested"]) == ("event:rsvp_update", 1)
    assert (await watch(edge, ALICE)).status == "interested"


@pytest.mark.parametrize("seed", range(12))
async def test_a_race_for_seats_between_two_hosts_never_oversells(world: World, seed: int) -> None:
    """Both hosts believe they own the event; answers are lost on the way now and then."""
    choice = random.Random(seed)
    await world.events.put(EVENT_ID, capacity=5)
    limits = HostLimits(
        decide_attempts=1_000, load_backoff_s=0.001, commit_backoff_s=0.001, rooms=RoomLimits(known_answers=40)
    )
    hosts = [world.host(f"host-{n}", limits=limits) for n in range(2)]
    edges = [Edge(host, world.clock, f"edge-{n}") for n, host in enumerate(hosts)]
    people = [f"{n:024x}" for n in range(20)]
    world.storage.rsvps.faults.next.extend(choice.choice(["none", "none", "after", "before"]) for _ in range(30))

    async def one(user: str) -> tuple[str, RsvpAnswer]:
        for status in choice.choices(["going", "declined"], k=2):
            await rsvp_at_last(choice.choice(edges), user, status)
        return user, await rsvp_at_last(choice.choice(edges), user, "going")

    answers = await asyncio.gather(*map(one, people))
    rows = {user: await row(world, user) for user in people}
    going = [user for user in people if rows[user].status == "going"]
    assert len(going) <= 5
    assert len({rows[user].seat for user in going}) == len(going)
    for user, answer in answers:
        # Whoever was told that they go does go; whoever was told to wait waits or was promoted.
        assert rows[user].status == "going" or answer.status == "waiting"
    # A fresh owner finds a settled event: all seats are taken while anybody waits.
    fresh = Edge(world.host("host-2"), world.clock, "edge-2")
    assert (await watch(fresh)).waiting == 15
    assert sum(host.statistics()["bugs"] for host in hosts) == 0


async def test_many_race_for_few_seats_in_order_of_arrival(world: World) -> None:
    await world.events.put(EVENT_ID, capacity=100)
    host = world.host()
    edge = Edge(host, world.clock)
    people = [f"{n:024x}" for n in range(1_000)]
    answers = [begin(edge, user, "going") for user in people]
    told = [decode(await answer, RsvpAnswer) for answer in answers]
    assert [answer.status for answer in told] == ["going"] * 100 + ["waiting"] * 900
    assert [answer.place for answer in told[100:]] == list(range(1, 901))
    assert len(await world.storage.rsvps.going(EVENT_ID, None, 500)) == 100


async def test_facts_that_grew_old_behind_many_promotions_are_fetched_again(world: World) -> None:
    """Someone waits, is promoted, and then declines by a command that was already in the inbox."""
    await world.events.put(EVENT_ID, capacity=0)
    limits = HostLimits(fetch_ahead=8, rooms=RoomLimits(known_answers=12, promotions_a_step=4))
    host = world.host(limits=limits)
    edge = Edge(host, world.clock)
    people = [f"{n:024x}" for n in range(60)]
    for user in people:
        await rsvp(edge, user, "going")
    await world.events.put(EVENT_ID, capacity=40)
    in_front = edge.begin(EVENT, "event.watch", DAVE, None)
    changed = edge.begin(EVENT, "event.changed", "", None)
    declined = [begin(edge, user, "declined") for user in people[:6]]
    await asyncio.gather(in_front, changed, *declined)
    snapshot = await watch(edge)
    assert (snapshot.attending, snapshot.waiting) == (40, 14)
    assert host.statistics()["stale"] == 0
    fresh = await watch(Edge(world.host("host-1"), world.clock, "edge-1"))
    assert (fresh.attending, fresh.waiting) == (40, 14)


async def test_a_changed_event_reaches_its_watchers_and_a_larger_one_its_line(world: World) -> None:
    await world.events.put(EVENT_ID, capacity=1)
    edge = Edge(world.host(), world.clock)
    for user in (ALICE, BOB, CAROL):
        await rsvp(edge, user, "going")
    await watch(edge)
    await world.events.put(EVENT_ID, capacity=2)
    await edge.ask(EVENT, "event.changed", "")
    await edge.until(lambda: len(edge.told[EVENT]) == 3)
    assert [told.name for told in edge.told[EVENT]] == ["event:update", "event:rsvp_update", "event:rsvp_update"]
    assert [told.body.get("attending") for told in edge.told[EVENT]] == [None, 1, 2]
    assert (await row(world, BOB)).promoted
    assert (await row(world, CAROL)).status == "waiting"
    await world.events.delete(EVENT_ID)
    await edge.ask(EVENT, "event.changed", "")
    with pytest.raises(FlowError) as caught:
        await rsvp(edge, DAVE, "going")
    assert caught.value.kind is EVENT_NOT_FOUND


async def test_a_line_left_behind_by_a_crash_is_settled_on_activation(world: World) -> None:
    await world.events.put(EVENT_ID, capacity=2)
    waiting = [
        Rsvp(event_id=EVENT_ID, user_id=user, status="waiting", epoch=0, at_ms=1, place=place)
        for place, user in enumerate((ALICE, BOB, CAROL), 4)
    ]
    await world.storage.rsvps.append(waiting, [False] * 3)
    snapshot = await watch(Edge(world.host(), world.clock))
    assert (snapshot.attending, snapshot.waiting) == (2, 1)
    assert [(await row(world, user)).status for user in (ALICE, BOB, CAROL)] == ["going", "going", "waiting"]


async def test_visibility_and_requirements_hold(world: World) -> None:
    await world.events.put(EVENT_ID, visibility="private", requirements={"minPoints": 5})
    edge = Edge(world.host(), world.clock)
    world.people.by_user_id[ALICE] = User(id=ALICE, username="a", email=None, password_hash="", name="A", points=4)
    with pytest.raises(FlowError) as caught:
        await watch(edge, ALICE)
    assert caught.value.kind is FORBIDDEN
    world.events.invited.add((EVENT_ID, ALICE))
    with pytest.raises(FlowError) as caught:
        await rsvp(edge, ALICE, "going")
    assert caught.value.kind is REQUIREMENTS_NOT_MET
    assert (await watch(edge, ALICE)).status is None


async def test_a_watcher_that_was_away_gets_the_fresh_snapshot(world: World) -> None:
    await world.events.put(EVENT_ID)
    host = world.host()
    edge = Edge(host, world.clock)
    before = await watch(edge)
    edge.link.cut()
    edge.link.connect()
    (same,) = await edge.resume(Position(key=EVENT, epoch=before.epoch, seq=before.seq))
    assert (same.reset, same.missed) == (False, ())
    edge.link.cut()
    edge.link.connect()
    other = Edge(host, world.clock, "edge-1")
    await rsvp(other, ALICE, "going")
    (resumed,) = await edge.resume(Position(key=EVENT, epoch=before.epoch, seq=before.seq))
    assert resumed.reset
    assert [delivery.body["attending"] for delivery in resumed.missed] == [1]
    await rsvp(other, BOB, "going")
    await edge.until(lambda: edge.seqs(EVENT) == [resumed.seq + 1])


async def test_an_answer_to_an_event_that_was_deleted_meanwhile_is_refused_and_told(world: World) -> None:
    """Nobody told the room: it finds out by the write, and says so to everybody who asks."""
    await world.events.put(EVENT_ID, capacity=1)
    host = world.host()
    edge = Edge(host, world.clock)
    await watch(edge)
    assert (await rsvp(edge, ALICE, "going")).status == "going"
    await world.events.delete(EVENT_ID)
    answers = await asyncio.gather(*(begin(edge, who, "going") for who in (BOB, CAROL, DAVE)), return_exceptions=True)
    assert [getattr(answer, "kind", answer) for answer in answers] == [EVENT_NOT_FOUND] * 3
    assert edge.moved == [EVENT], "whoever watches asks again, and is told"
    assert (await row(world, ALICE)).status == "going"
    assert host.statistics()["waiting"] == 0
    assert host.statistics()["active"] == 0


async def test_an_event_without_a_limit_may_get_one_and_one_with_a_limit_lose_it(world: World) -> None:
    await world.events.put(EVENT_ID)
    edge = Edge(world.host(), world.clock)
    assert (await rsvp(edge, ALICE, "going")).status == "going"
    assert (await rsvp(edge, BOB, "going")).status == "going"
    await world.events.put(EVENT_ID, capacity=1)
    await edge.ask(EVENT, "event.changed", DAVE)
    assert (await rsvp(edge, CAROL, "going")).status == "waiting"
    assert (await rsvp(edge, ALICE, "declined")).attending == 1, "still as many as there are places"
    assert (await row(world, CAROL)).status == "waiting"
    await world.events.put(EVENT_ID)
    await edge.ask(EVENT, "event.changed", DAVE)
    assert (await rsvp(edge, CAROL, "going")).status == "going", "the line was served before this was decided"
    assert (await row(world, CAROL)).promoted
