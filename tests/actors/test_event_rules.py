"""The event room's rules under any interleaving: capacity, the line, and snapshot + events = fresh snapshot."""

from typing import Any

import msgspec
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from actors.effects import Effects, Envelope
from actors.event_room import EventRoom, Settle
from actors.facts import Fact, Invited, OwnRsvp, Person, RsvpNow, Terms, WireEvent
from actors.limits import RoomLimits
from actors.messages import AnswerRsvp, EventChanged, Position, ShowInterest, WatchEvent
from actors.ports import EventTerms
from cluster.kernel.errors import (
    EVENT_NOT_FOUND,
    EVENT_OVER,
    FENCED,
    FORBIDDEN,
    INVALID_REQUEST,
    REQUIREMENTS_NOT_MET,
    ErrorKind,
    FlowError,
)
from storage.records import EventHead, Rsvp, User
from tests.actors.rules import decide

EVENT = "e" * 24
ORGANIZER = "f" * 24
LIMITS = RoomLimits(known_answers=33, promotions_a_step=2)
PEOPLE = [f"{n:x}" * 24 for n in range(9)]


class Ledger:
    """What storage would hold of one event, with the uniqueness it enforces."""

    def __init__(self, capacity: int | None = None) -> None:
        self.rows: dict[str, Rsvp] = {}
        self.epoch = 0
        self.terms: EventTerms | None = EventTerms(
            event_id=EVENT,
            organizer_id=ORGANIZER,
            visibility="public",
            ends_at_ms=0,
            capacity=capacity,
            requirements={},
        )
        self.invited: set[str] = set()
        self.people: dict[str, User] = {}

    def change(self, **changes: Any) -> None:
        assert self.terms is not None
        self.terms = msgspec.structs.replace(self.terms, **changes)

    def claim(self) -> EventHead:
        self.epoch += 1
        assert self.terms is not None
        going = [row for row in self.rows.values() if row.status == "going"]
        return EventHead(
            event_id=EVENT,
            epoch=self.epoch,
            organizer_id=ORGANIZER,
            title="",
            visibility=self.terms.visibility,
            starts_at_ms=0,
            ends_at_ms=self.terms.ends_at_ms,
            capacity=self.terms.capacity,
            requirements=self.terms.requirements,
            attending=len(going),
            interested=sum(row.status == "interested" for row in self.rows.values()),
            taken=tuple(row.seat for row in going if row.seat is not None),
            waiting=tuple((row.place, row.user_id) for row in self.rows.values() if row.place is not None),
        )

    def write(self, rows: tuple[Rsvp, ...]) -> None:
        for row in rows:
            for other in self.rows.values():
                if other.user_id != row.user_id:
                    assert row.seat is None or other.seat != row.seat, "one seat for two"
                    assert row.place is None or other.place != row.place, "one place for two"
            self.rows[row.user_id] = row

    def find(self, fact: Fact) -> Any:
        match fact:
            case OwnRsvp(user_id=user) | RsvpNow(user_id=user):
                return self.rows.get(user)
            case Invited(user_id=user):
                return user in self.invited
            case Person(user_id=user):
                return self.people.get(user)
            case Terms():
                return self.terms
            case WireEvent():
                return None if self.terms is None else {"id": EVENT, "title": "new"}
        raise AssertionError(fact)

    def count(self, status: str) -> int:
        return sum(row.status == status for row in self.rows.values())

    def line(self) -> list[str]:
        waiting = [row for row in self.rows.values() if row.status == "waiting"]
        return [row.user_id for row in sorted(waiting, key=lambda row: row.place or 0)]


class EventRules(RuleBasedStateMachine):
    """`seen` is what a watcher knows: a snapshot once, and then only what the fan-outs say."""

    @initialize(capacity=st.none() | st.integers(0, 4))
    def begin(self, capacity: int | None) -> None:
        self.ledger = Ledger(capacity)
        self.room = EventRoom(self.ledger.claim(), LIMITS)
        self.going_before = 0
        self.watch()

    def ask(self, body: Any, user: str) -> Effects:
        effects = decide(self.room, Envelope(body, user, now_ms=1_000), self.ledger.find)
        self.carry_out(effects)
        while self.room.is_unsettled(1_000):
            self.carry_out(decide(self.room, Envelope(Settle(), now_ms=1_000), self.ledger.find))
        return effects

    def carry_out(self, effects: Effects) -> None:
        assert len(effects.rows) <= LIMITS.promotions_a_step + 1
        assert len(effects.owed) == len(effects.rows)
        self.ledger.write(effects.rows)  # type: ignore[arg-type]
        for fan_out in effects.fan_outs:
            assert fan_out.epoch == self.room.epoch
            assert fan_out.seq == self.seen_seq + 1
            self.seen_seq = fan_out.seq
            if fan_out.name == "event:rsvp_update":
                assert set(fan_out.body) == {"eventId", "attending", "interested", "capacity"}
                self.seen.update({name: fan_out.body[name] for name in ("attending", "interested", "capacity")})

    @rule()
    def watch(self) -> None:
        snapshot = decide(self.room, Envelope(WatchEvent(), PEOPLE[0], now_ms=1_000), self.ledger.find).reply
        self.seen_seq = snapshot.seq
        self.seen = {name: getattr(snapshot, name) for name in ("attending", "interested", "capacity")}

    @rule(user=st.sampled_from(PEOPLE), status=st.sampled_from(["going", "going", "interested", "declined"]))
    def answer(self, user: str, status: str) -> None:
        before = self.ledger.rows.get(user)
        line_before = self.ledger.line()
        reply = self.ask(AnswerRsvp(status=status), user).reply
        after = self.ledger.rows[user]
        if before is not None and (before.status == status or (status, before.status) == ("going", "waiting")):
            assert after == before
        assert reply.status in {status, "waiting"}
        if reply.status == "waiting":
            assert status == "going"
            assert reply.place is not None
            if before is None or before.status != "waiting":
                assert reply.place == len(line_before) + 1

    @rule(user=st.sampled_from(PEOPLE))
    def show_interest(self, user: str) -> None:
        before = self.ledger.rows.get(user)
        effects = self.ask(ShowInterest(), user)
        told = [fan_out.body for fan_out in effects.fan_outs if fan_out.name == "event:interest_update"]
        if before is None or before.status == "declined":
            assert told == [{"eventId": EVENT, "userId": user, "action": "interested"}]
        else:
            assert not effects.fan_outs

    @rule(user=st.sampled_from(PEOPLE), status=st.sampled_from(["going", "interested", "declined"]))
    def answer_twice(self, user: str, status: str) -> None:
        first = self.ask(AnswerRsvp(status=status), user).reply
        again = self.ask(AnswerRsvp(status=status), user)
        assert again.reply == first
        assert not again.rows
        assert not again.fan_outs

    @rule(capacity=st.none() | st.integers(0, 6))
    def change_capacity(self, capacity: int | None) -> None:
        self.ledger.change(capacity=capacity)
        effects = self.ask(EventChanged(), "")
        assert effects.fan_outs[0].name == "event:update"

    @rule()
    def reload(self) -> None:
        self.room = EventRoom(self.ledger.claim(), LIMITS)
        assert not self.room.is_unsettled(1_000), "every step leaves the line settled"
        self.watch()

    @precondition(lambda self: self.ledger.line())
    @rule(leaver=st.sampled_from(PEOPLE))
    def a_freed_seat_goes_to_the_first_in_line(self, leaver: str) -> None:
        row = self.ledger.rows.get(leaver)
        capacity = self.room.terms.capacity
        if row is None or row.status != "going" or capacity is None or self.ledger.count("going") > capacity:
            return
        first = self.ledger.line()[0]
        effects = self.ask(AnswerRsvp(status="declined"), leaver)
        promoted = self.ledger.rows[first]
        assert (promoted.status, promoted.promoted) == ("going", True)
        assert [row.user_id for row in effects.rows] == [leaver, first]  # type: ignore[union-attr]
        assert effects.owed == (True, True)

    @rule()
    def trim(self) -> None:
        self.room.trim()

    @rule(epoch=st.integers(0, 3), seq=st.integers(0, 60))
    def resume(self, epoch: int, seq: int) -> None:
        resumed = decide(self.room, Envelope(Position(key=self.room.key, epoch=epoch, seq=seq)), self.ledger.find).reply
        is_current = (epoch, seq) == (self.room.epoch, self.room.seq)
        assert resumed.reset != is_current
        if not is_current:
            (snapshot,) = resumed.missed
            assert snapshot.seq == resumed.seq == self.room.seq
            assert snapshot.body["attending"] == self.ledger.count("going")

    @invariant()
    def is_never_oversold(self) -> None:
        capacity = self.room.terms.capacity
        if capacity is not None:
            # A smaller capacity throws nobody out; it lets nobody in either.
            assert self.ledger.count("going") <= max(capacity, self.going_before)
        self.going_before = self.ledger.count("going")
        seats = [row.seat for row in self.ledger.rows.values() if row.seat is not None]
        assert len(seats) == len(set(seats))
        assert all(row.status == "going" for row in self.ledger.rows.values() if row.seat is not None)
        assert all((row.place is not None) == (row.status == "waiting") for row in self.ledger.rows.values())

    @invariant()
    def the_snapshot_and_the_events_equal_a_fresh_snapshot(self) -> None:
        fresh = self.room.snapshot()
        assert self.seen_seq == fresh.seq
        assert self.seen == {"attending": fresh.attending, "interested": fresh.interested, "capacity": fresh.capacity}
        assert (fresh.attending, fresh.interested) == (self.ledger.count("going"), self.ledger.count("interested"))
        assert fresh.waiting == self.ledger.count("waiting")


EventRules.TestCase.settings = settings(max_examples=120, stateful_step_count=40, deadline=None)
TestEventRules = EventRules.TestCase


# --- single rules -----------------------------------------------------------------------------------------------------


def ask(ledger: Ledger, body: Any, user: str, now_ms: int = 1_000) -> Effects:
    return decide(EventRoom(ledger.claim(), LIMITS), Envelope(body, user, now_ms=now_ms), ledger.find)


def refusal(ledger: Ledger, body: Any, user: str, now_ms: int = 1_000) -> ErrorKind:
    with pytest.raises(FlowError) as caught:
        ask(ledger, body, user, now_ms)
    return caught.value.kind


def person(points: int = 0, rating: float = 0.0) -> User:
    return User(id=PEOPLE[0], username="u", email=None, password_hash="", name="U", points=points, rating=rating)


def test_an_unknown_status_is_refused() -> None:
    assert refusal(Ledger(), AnswerRsvp(status="waiting"), PEOPLE[0]) is INVALID_REQUEST


@pytest.mark.parametrize("body", [WatchEvent(), ShowInterest(), AnswerRsvp(status="going")])
@pytest.mark.parametrize("visibility", ["private", "group-only"])
def test_a_hidden_event_is_for_its_organizer_those_invited_and_those_who_answered(body: Any, visibility: str) -> None:
    ledger = Ledger()
    ledger.change(visibility=visibility)
    assert refusal(ledger, body, PEOPLE[0]) is FORBIDDEN
    ask(ledger, body, ORGANIZER)
    ledger.invited.add(PEOPLE[1])
    ask(ledger, body, PEOPLE[1])
    ledger.rows[PEOPLE[2]] = Rsvp(event_id=EVENT, user_id=PEOPLE[2], status="declined", epoch=1, at_ms=1)
    ask(ledger, body, PEOPLE[2])


def test_after_its_end_an_event_takes_no_answers_and_promotes_nobody() -> None:
    ledger = Ledger(capacity=1)
    ledger.change(ends_at_ms=500)
    ledger.rows[PEOPLE[1]] = Rsvp(event_id=EVENT, user_id=PEOPLE[1], status="waiting", epoch=1, at_ms=1, place=1)
    assert refusal(ledger, AnswerRsvp(status="going"), PEOPLE[0]) is EVENT_OVER
    assert refusal(ledger, ShowInterest(), PEOPLE[0]) is EVENT_OVER
    room = EventRoom(ledger.claim(), LIMITS)
    assert not room.is_unsettled(500)
    assert room.is_unsettled(499)
    assert not decide(room, Envelope(Settle(), now_ms=500), ledger.find).rows


@pytest.mark.parametrize(
    ("requirements", "enough", "too_little"),
    [
        ({"minPoints": 10}, person(points=10), person(points=9)),
        ({"minRating": 4.5}, person(rating=4.5), person(rating=4.4)),
        ({"minPoints": 1, "minRating": 1}, person(1, 1.0), person(1, 0.9)),
    ],
)
def test_requirements_hold_for_going_alone(requirements: dict[str, Any], enough: User, too_little: User) -> None:
    ledger = Ledger()
    ledger.change(requirements=requirements)
    ledger.people[PEOPLE[0]] = too_little
    assert refusal(ledger, AnswerRsvp(status="going"), PEOPLE[0]) is REQUIREMENTS_NOT_MET
    ask(ledger, AnswerRsvp(status="interested"), PEOPLE[0])
    ask(ledger, AnswerRsvp(status="going"), ORGANIZER)
    ledger.people[PEOPLE[0]] = enough
    ask(ledger, AnswerRsvp(status="going"), PEOPLE[0])
    assert refusal(ledger, AnswerRsvp(status="going"), PEOPLE[1]) is REQUIREMENTS_NOT_MET


def test_an_invite_only_event_is_seen_by_all_and_attended_by_those_invited() -> None:
    ledger = Ledger()
    ledger.change(requirements={"inviteOnly": True})
    ask(ledger, WatchEvent(), PEOPLE[0])
    assert refusal(ledger, AnswerRsvp(status="going"), PEOPLE[0]) is REQUIREMENTS_NOT_MET
    ledger.invited.add(PEOPLE[0])
    assert ask(ledger, AnswerRsvp(status="going"), PEOPLE[0]).reply.status == "going"


def test_a_deleted_event_says_so_and_takes_nothing_more() -> None:
    ledger = Ledger()
    room = EventRoom(ledger.claim(), LIMITS)
    ledger.terms = None
    effects = decide(room, Envelope(EventChanged()), ledger.find)
    assert [(f.name, f.body) for f in effects.fan_outs] == [("event:update", {"id": EVENT, "deleted": True})]
    with pytest.raises(FlowError) as caught:
        decide(room, Envelope(AnswerRsvp(status="going"), PEOPLE[0]), ledger.find)
    assert caught.value.kind is EVENT_NOT_FOUND


def test_a_line_left_by_a_crash_between_two_rows_is_settled_in_bounded_steps() -> None:
    ledger = Ledger(capacity=3)
    for place, user in enumerate(PEOPLE[:5], 1):
        ledger.rows[user] = Rsvp(event_id=EVENT, user_id=user, status="waiting", epoch=1, at_ms=1, place=place)
    room = EventRoom(ledger.claim(), LIMITS)
    promoted = []
    while room.is_unsettled(1_000):
        effects = decide(room, Envelope(Settle(), now_ms=1_000), ledger.find)
        ledger.write(effects.rows)  # type: ignore[arg-type]
        promoted += [row.user_id for row in effects.rows]  # type: ignore[union-attr]
    assert promoted == PEOPLE[:3]
    assert sorted(row.seat for row in ledger.rows.values() if row.seat) == [1, 2, 3]


def test_facts_that_the_state_cannot_explain_show_another_owner() -> None:
    ledger = Ledger(capacity=1)
    room = EventRoom(ledger.claim(), LIMITS)
    decide(room, Envelope(AnswerRsvp(status="going"), PEOPLE[0]), ledger.find)
    ledger.rows[PEOPLE[0]] = Rsvp(event_id=EVENT, user_id=PEOPLE[0], status="declined", epoch=2, at_ms=1)
    ledger.rows[PEOPLE[1]] = Rsvp(event_id=EVENT, user_id=PEOPLE[1], status="waiting", epoch=0, at_ms=1, place=3)
    ledger.rows[PEOPLE[2]] = Rsvp(event_id=EVENT, user_id=PEOPLE[2], status="interested", epoch=2, at_ms=1)
    for user in PEOPLE[:3]:
        with pytest.raises(FlowError) as caught:
            decide(room, Envelope(AnswerRsvp(status="going"), user), ledger.find)
        assert caught.value.kind is FENCED


def test_nobody_overtakes_a_line_that_is_not_settled_yet() -> None:
    ledger = Ledger(capacity=1)
    ledger.rows[PEOPLE[0]] = Rsvp(event_id=EVENT, user_id=PEOPLE[0], status="waiting", epoch=1, at_ms=1, place=7)
    effects = ask(ledger, AnswerRsvp(status="going"), PEOPLE[1])
    ledger.write(effects.rows)  # type: ignore[arg-type]
    assert (effects.reply.status, effects.reply.place) == ("waiting", 1)
    assert ledger.rows[PEOPLE[0]].status == "going"
