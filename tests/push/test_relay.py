"""From a stored message to push rows: who gets one, and that dying half-way changes nothing."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from actors.outbox.journal import Journal
from cluster.kernel.errors import UNAVAILABLE, FlowError
from storage.records import Rsvp
from tests.push.conftest import ADA, BOB, CYD, EVENT, World

ROOM = f"event:{EVENT}"


def life(journal_id: str, limit: int = 100) -> Journal:
    return Journal(journal_id, limit=limit, limit_bytes=1_000_000)


async def rows(world: World) -> list[tuple[str, str, str, int]]:
    leased = await world.outbox.lease("test", world.clock.now_ms(), 0, 100)
    return sorted((row.device_id, row.title, row.body, row.badge) for row in leased)


async def test_members_without_a_live_socket_get_one_row_a_device(world: World) -> None:
    await world.memberships.add(ROOM, [ADA, BOB, CYD], 0)
    world.sessions.live.add(CYD)
    await world.say(ROOM, "event", ADA, "see you there")
    assert await world.relay().round() == 1
    assert await rows(world) == [
        (f"{BOB[:23]}0", "ada in Jazz night", "see you there", 1),
        (f"{BOB[:23]}1", "ada in Jazz night", "see you there", 1),
    ]
    assert set(world.sessions.told) == {BOB}
    assert await world.relay().round() == 0


async def test_between_two_people_the_title_is_the_sender(world: World) -> None:
    await world.say(f"dm:{ADA}:{BOB}", "dm", BOB)
    await world.relay().round()
    assert await rows(world) == [(f"{ADA[:23]}0", "bob", "hello", 1)]


async def test_the_same_message_taken_twice_makes_the_same_rows(world: World) -> None:
    await world.memberships.add(ROOM, [ADA, BOB], 0)
    await world.say(ROOM, "event", ADA)
    world.outbox.faults.next.extend(["after"])
    relay = world.relay()
    with pytest.raises(FlowError):
        await relay.round()
    assert await relay.round() == 1
    assert len(await rows(world)) == 2
    assert len(world.sessions.told[BOB]) == 1


async def test_sessions_that_are_away_leave_the_message_owed(world: World) -> None:
    await world.memberships.add(ROOM, [ADA, BOB], 0)
    await world.say(ROOM, "event", ADA)
    world.sessions.away = True
    relay = world.relay()
    with pytest.raises(FlowError) as caught:
        await relay.round()
    assert caught.value.kind is UNAVAILABLE
    world.sessions.away = False
    assert await relay.round() == 1
    assert len(await rows(world)) == 2


async def test_what_a_part_that_stays_away_holds_up_waits_by_itself_and_the_rest_goes_on(world: World) -> None:
    await world.memberships.add(ROOM, [ADA, BOB], 0)
    relay = world.relay(batch=1)
    world.sessions.away = True
    await world.say(ROOM, "event", ADA, "first")
    for _ in range(2):
        with pytest.raises(FlowError):
            await relay.round()
    await relay.round()
    assert relay.statistics()["relay_put_off"] == 1
    world.sessions.away = False
    await world.say(ROOM, "event", ADA, "second")
    assert await relay.round() == 1
    assert [body for _, _, body, _ in await rows(world)] == ["second", "second"]
    world.clock.advance(31)
    assert await relay.round() == 1
    assert len(world.sessions.told[BOB]) == 2


async def test_a_room_larger_than_a_page_reaches_everyone(world: World) -> None:
    crowd = [f"{index:024x}" for index in range(1, 8)]
    for index, user_id in enumerate(crowd):
        world.people.add(user_id, f"person{index}")
    await world.memberships.add(ROOM, crowd, 0)
    await world.say(ROOM, "event", crowd[0])
    await world.relay(member_page=3).round()
    assert set(world.sessions.told) == set(crowd[1:])


async def test_who_wants_no_pushes_for_chat_gets_the_notification_alone(world: World) -> None:
    world.people.add(BOB, "bob", chat=False)
    await world.memberships.add(ROOM, [ADA, BOB], 0)
    await world.say(ROOM, "event", ADA)
    await world.relay().round()
    assert BOB in world.sessions.told
    assert await rows(world) == []


async def test_an_answer_tells_the_organizer_and_a_promotion_the_person(world: World) -> None:
    await world.rsvps.put_event(EVENT, organizer_id=ADA, capacity=10)
    head = await world.rsvps.claim(EVENT)
    going = Rsvp(
        event_id=EVENT, user_id=BOB, status="going", epoch=head.epoch, at_ms=1, seat=1, place=None, promoted=True
    )
    assert (await world.rsvps.append([going], [True])).refusal is None
    assert await world.relay().round() == 1
    assert {notify.type for notify in world.sessions.told[ADA].values()} == {"event_rsvp"}
    assert {notify.type for notify in world.sessions.told[BOB].values()} == {"event_promoted"}


async def answer(world: World, *rsvps: Rsvp) -> None:
    assert (await world.rsvps.append(rsvps, [True] * len(rsvps))).refusal is None


def given(user_id: str, status: str, at_ms: int, epoch: int = 1) -> Rsvp:
    return Rsvp(event_id=EVENT, user_id=user_id, status=status, epoch=epoch, at_ms=at_ms)


def recorded(world: World) -> list[tuple[str, str, str]]:
    return sorted((act.user_id, act.subject, act.action) for act in world.analytics.events.values())


async def test_every_answer_is_recorded_once_whatever_anybody_is_told(world: World) -> None:
    await world.rsvps.put_event(EVENT, organizer_id=ADA)
    await world.rsvps.claim(EVENT)
    await answer(world, given(BOB, "interested", 1), given(CYD, "going", 2))
    await answer(world, given(BOB, "declined", 3))
    assert await world.relay().round() == 2
    assert recorded(world) == [(BOB, EVENT, "declined"), (BOB, EVENT, "interested"), (CYD, EVENT, "going")]
    assert await world.relay().round() == 0


@pytest.mark.parametrize("fault", ["before", "after"])
async def test_acts_that_could_not_be_recorded_are_owed_still(world: World, fault: str) -> None:
    await world.rsvps.put_event(EVENT, organizer_id=ADA)
    await world.rsvps.claim(EVENT)
    await answer(world, given(BOB, "going", 1))
    world.analytics.faults.next.append(fault)
    with pytest.raises(FlowError):
        await world.relay().round()
    world.clock.advance(31)
    assert await world.relay("second").round() == 1
    assert recorded(world) == [(BOB, EVENT, "going")]
    assert len(world.sessions.told[ADA]) == 1


async def test_a_document_that_breaks_the_relay_is_tried_eight_times_and_harms_no_other(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    await world.memberships.add(ROOM, [ADA, BOB], 0)
    await world.say("not a room at all", "group", ADA)
    await world.say(ROOM, "event", ADA)
    relay = world.relay()
    assert await relay.round() == 1
    assert len(await rows(world)) == 2
    assert relay.statistics()["relay_failed"] == 1
    assert "was not worked out" in caplog.text
    for _ in range(9):
        world.clock.advance(31)
        assert await relay.round() == 0
    assert relay.statistics()["relay_failed"] == 8


async def test_what_a_host_that_died_had_stored_is_anothers_when_its_hold_runs_out(world: World) -> None:
    await world.memberships.add(ROOM, [ADA, BOB], 0)
    dies = world.relay("dies")
    await dies.renew()
    await world.say(ROOM, "event", ADA, "worked out")
    assert await dies.round() == 1
    world.clock.advance(2)
    await dies.renew()
    for number in range(3):
        await world.say(ROOM, "event", ADA, f"owed {number}")
    survivor = world.relay("survives", life("life-1"), batch=2)
    await survivor.renew()
    world.clock.advance(9)
    assert await survivor.round() == 0
    world.clock.advance(1)
    assert [await survivor.round() for _ in range(3)] == [2, 1, 0]
    assert set(world.sessions.told) == {BOB}
    assert len(world.sessions.told[BOB]) == 4
    assert survivor.statistics()["relay_taken_over"] == 3


async def test_a_dead_hosts_journal_that_cannot_be_worked_out_holds_up_nothing_else(world: World) -> None:
    await world.memberships.add(ROOM, [ADA, BOB], 0)
    dead = world.relay("dead")
    await dead.renew()
    await world.say(ROOM, "event", ADA)
    await dead.leave()
    await world.rsvps.put_event(EVENT, organizer_id=ADA)
    await world.rsvps.claim(EVENT)
    await answer(world, given(ADA, "going", 1))
    world.sessions.away = True
    survivor = world.relay("survives", life("life-1"))
    for _ in range(2):
        with pytest.raises(FlowError):
            await survivor.round()
    assert await survivor.round() == 1, "the answer, of which nobody has to be told"
    assert survivor.statistics()["relay_put_off"] == 1
    world.sessions.away = False
    world.clock.advance(31)
    assert await survivor.round() == 1
    assert len(world.sessions.told[BOB]) == 1


async def test_what_a_host_that_leaves_had_stored_is_anothers_at_once(world: World) -> None:
    await world.memberships.add(ROOM, [ADA, BOB], 0)
    leaves = world.relay("leaves")
    await leaves.renew()
    await world.say(ROOM, "event", ADA)
    await leaves.leave()
    assert await world.relay("stays", life("life-1")).round() == 1
    assert len(await rows(world)) == 2


async def test_a_host_that_stood_still_and_goes_on_owes_what_it_stores_then(world: World) -> None:
    await world.memberships.add(ROOM, [ADA, BOB], 0)
    stopped, other = world.relay("stopped"), world.relay("other", life("life-1"))
    await stopped.renew()
    await world.say(ROOM, "event", ADA, "before")
    world.clock.advance(11)
    assert [await other.round() for _ in range(2)] == [1, 0]
    await world.say(ROOM, "event", ADA, "after")  # and it dies before it renews anything
    for seconds in (59, 2):
        assert len(world.sessions.told[BOB]) == 1
        world.clock.advance(seconds)
        await other.round()
    assert len(world.sessions.told[BOB]) == 2


async def test_what_does_not_fit_in_memory_is_read_back_from_storage_in_order(world: World) -> None:
    await world.memberships.add(ROOM, [ADA, BOB], 0)
    journal = life("small", limit=2)
    relay = world.relay(journal=journal, batch=2)
    for number in range(5):
        await world.say(ROOM, "event", ADA, f"number {number}", journal)
    assert journal.statistics()["handover_dropped"] == 3
    assert [await relay.round() for _ in range(4)] == [2, 2, 1, 0]
    assert [told.body for told in world.sessions.told[BOB].values()] == [f"number {number}" for number in range(5)]
    assert journal.statistics()["journal_unsettled"] == 0


async def test_many_rooms_cost_one_question(world: World) -> None:
    asked: list[int] = []

    class Counted:
        async def members(self, room_ids: Sequence[str], *page: Any) -> list[tuple[str, str]]:
            asked.append(len(room_ids))
            found: list[tuple[str, str]] = await world.storage.memberships.members(room_ids, *page)
            return found

    groups = [f"{number:024x}" for number in range(40)]
    for room_id in groups:
        await world.memberships.add(room_id, [ADA, BOB], 0)
        await world.say(room_id, "group", ADA)
    world.sessions.live.add(ADA)
    world.members = Counted()
    assert await world.relay(member_page=500).round() == 40
    assert asked == [40]
    assert len(world.sessions.told[BOB]) == 40


async def test_a_journal_is_renewed_however_long_a_round_takes(world: World) -> None:
    await world.memberships.add(ROOM, [ADA, BOB], 0)
    relay = world.relay(renew_s=0.001)
    await relay.renew()
    world.storage.journals.faults.next.append("before")
    keeping = asyncio.create_task(relay.keep())
    other = world.relay("other", life("life-1"))
    await world.say(ROOM, "event", ADA)
    while relay.statistics()["relay_renewals_failed"] == 0:  # noqa: ASYNC110 - a gauge, which nobody announces
        await asyncio.sleep(0)
    world.clock.advance(11)
    while await world.storage.journals.lease_lapsed("test", world.clock.now_ms(), 0) is not None:  # noqa: ASYNC110
        await asyncio.sleep(0.001)
    assert await other.round() == 0, "its host answers for it"
    keeping.cancel()
    await asyncio.wait([keeping])
