"""From a stored message to push rows: who gets one, and that dying half-way changes nothing."""

from collections.abc import Sequence
from typing import Any

import pytest

from cluster.kernel.errors import UNAVAILABLE, FlowError
from storage.records import Rsvp
from tests.push.conftest import ADA, BOB, CYD, EVENT, World

ROOM = f"event:{EVENT}"


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
    with pytest.raises(FlowError):
        await world.relay("first").round()
    world.clock.advance(31)
    assert await world.relay("second").round() == 1
    assert len(await rows(world)) == 2
    assert len(world.sessions.told[BOB]) == 1


async def test_sessions_that_are_away_leave_the_message_owed(world: World) -> None:
    await world.memberships.add(ROOM, [ADA, BOB], 0)
    await world.say(ROOM, "event", ADA)
    world.sessions.away = True
    with pytest.raises(FlowError) as caught:
        await world.relay().round()
    assert caught.value.kind is UNAVAILABLE
    world.sessions.away = False
    assert await world.relay().round() == 0, "the lease still holds"
    world.clock.advance(31)
    assert await world.relay().round() == 1
    assert len(await rows(world)) == 2


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


async def test_everything_people_do_is_recorded_once_whatever_they_are_told(world: World) -> None:
    await world.rsvps.put_event(EVENT, organizer_id=ADA)
    await world.rsvps.claim(EVENT)
    await world.say(ROOM, "event", CYD)
    await answer(world, given(BOB, "interested", 1), given(CYD, "going", 2))
    await answer(world, given(BOB, "declined", 3))
    assert await world.relay().round() == 3
    acts = [(BOB, EVENT, "declined"), (BOB, EVENT, "interested"), (CYD, EVENT, "going"), (CYD, ROOM, "message")]
    assert recorded(world) == acts
    assert await world.relay().round() == 0


@pytest.mark.parametrize("fault", ["before", "after"])
async def test_acts_that_could_not_be_recorded_are_owed_still(world: World, fault: str) -> None:
    await world.memberships.add(ROOM, [ADA, BOB], 0)
    await world.say(ROOM, "event", ADA)
    world.analytics.faults.next.append(fault)
    with pytest.raises(FlowError):
        await world.relay().round()
    world.clock.advance(31)
    assert await world.relay("second").round() == 1
    assert recorded(world) == [(ADA, ROOM, "message")]
    assert len(await rows(world)) == 2


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


async def test_what_this_host_stored_is_not_looked_for_in_storage(world: World) -> None:
    await world.memberships.add(ROOM, [ADA, BOB], 0)
    relay = world.relay()
    assert await relay.round() == 0
    said = await world.say(ROOM, "event", ADA, held_ms=10_000)
    assert await relay.round() == 0, "it was handed to nobody"
    relay.hand_over([said])
    assert await relay.round() == 1
    assert len(await rows(world)) == 2
    assert recorded(world) == [(ADA, ROOM, "message")]


async def test_what_a_host_that_died_had_stored_is_anothers_when_its_hold_runs_out(world: World) -> None:
    await world.memberships.add(ROOM, [ADA, BOB], 0)
    said = await world.say(ROOM, "event", ADA, held_ms=10_000)
    world.relay("dies").hand_over([said])
    survivor = world.relay("survives")
    world.clock.advance(9)
    assert await survivor.round() == 0
    world.clock.advance(1)
    assert await survivor.round() == 1
    assert set(world.sessions.told) == {BOB}


async def test_what_was_handed_over_and_failed_is_found_in_storage_later(world: World) -> None:
    await world.memberships.add(ROOM, [ADA, BOB], 0)
    relay = world.relay()
    relay.hand_over([await world.say(ROOM, "event", ADA, held_ms=10_000)])
    world.sessions.away = True
    with pytest.raises(FlowError):
        await relay.round()
    world.sessions.away = False
    world.clock.advance(10)
    assert await relay.round() == 1
    assert len(await rows(world)) == 2


async def test_more_than_is_handed_over_comes_by_storage(world: World) -> None:
    await world.memberships.add(ROOM, [ADA, BOB], 0)
    relay = world.relay(handover=2)
    relay.hand_over([await world.say(ROOM, "event", ADA, held_ms=10_000) for _ in range(5)])
    assert await relay.round() == 2
    world.clock.advance(10)
    assert await relay.round() == 3
    assert relay.statistics()["relay_handover_dropped"] == 3
    assert len(world.sessions.told[BOB]) == 5


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
