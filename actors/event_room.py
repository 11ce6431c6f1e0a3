"""The rules of an event's room: who watches, who is interested, who goes, who waits, and who gets a freed seat.

The host drives it (actors.runner). It promises that no more people go than there are seats, that the line moves in
order of arrival, and that a snapshot with the fan-outs after it equals a fresh snapshot. The revision (`seq`) starts at
0 with each epoch and grows by one with each fan-out. Never I/O, clock or randomness.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec

from actors.effects import DONE, Effects, Envelope, FanOut, Row
from actors.event_answers import Answers, Step
from actors.facts import Fact, Facts, OwnRsvp, RsvpNow, Terms, WireEvent
from actors.limits import RoomLimits
from actors.messages import (
    AnswerRsvp,
    EventChanged,
    EventSnapshot,
    Position,
    Resumed,
    RsvpAnswer,
    ShowInterest,
    WatchEvent,
)
from actors.ports import EventTerms
from actors.visibility import check_requirements, facts_to_go, facts_to_see, may_see
from cluster.kernel.errors import EVENT_NOT_FOUND, EVENT_OVER, FENCED, FORBIDDEN, INVALID_REQUEST, FlowError
from storage.records import EventHead, Rsvp

ANSWERS: Final = ("going", "interested", "declined")


class Settle(msgspec.Struct, frozen=True):
    """The host's own command: give free seats to those who wait."""


class EventRoom:
    """The state of one event's room and its `Machine`."""

    __slots__ = ("answers", "epoch", "event_id", "is_gone", "key", "revision", "terms")

    def __init__(self, head: EventHead, limits: RoomLimits) -> None:
        self.event_id = head.event_id
        self.key = f"event/{head.event_id}"
        self.epoch = head.epoch
        self.revision = 0
        self.is_gone = False
        self.terms = EventTerms(
            event_id=head.event_id,
            organizer_id=head.organizer_id,
            visibility=head.visibility,
            ends_at_ms=head.ends_at_ms,
            capacity=head.capacity,
            requirements=head.requirements,
        )
        self.answers = Answers(head, limits)

    @property
    def seq(self) -> int:
        return self.revision

    # --- asking -------------------------------------------------------------------------------------------------------

    def facts_needed(self, envelope: Envelope, facts: Facts) -> Sequence[Fact]:
        body, user = envelope.body, envelope.user
        if type(body) is EventChanged:
            return tuple(fact for fact in (Terms(self.event_id), WireEvent(self.event_id)) if fact not in facts)
        if self.is_gone:
            raise FlowError(EVENT_NOT_FOUND)
        if type(body) in (Settle, Position):
            return ()
        terms = self.terms
        needs = [*facts_to_see(terms.visibility, terms.organizer_id, self.event_id, user, facts)]
        own = OwnRsvp(self.event_id, user)
        if not self.answers.is_known(user) and own not in facts and own not in needs:
            needs.append(own)
        if type(body) is AnswerRsvp:
            if body.status not in ANSWERS:
                raise FlowError(INVALID_REQUEST, "status must be going, interested or declined.", fields=("status",))
            needs += self._proof_needed(user, body.status, facts)
            if body.status == "going":
                needs += facts_to_go(terms.requirements, terms.organizer_id, self.event_id, user, facts)
        return needs

    def _proof_needed(self, user: str, wanted: str, facts: Facts) -> Sequence[Fact]:
        """An answer that changes nothing writes nothing, so nothing would show that another owner wrote since."""
        known, proof = self.answers.known(user), RsvpNow(self.event_id, user)
        return (proof,) if known is not None and _is_same(known, wanted) and proof not in facts else ()

    def _current(self, user: str, facts: Facts) -> Rsvp | None:
        """This person's answer. What the state knows is newer than any fact; a fact that the state cannot explain was
        written by another owner."""
        if self.answers.is_known(user):
            known = self.answers.known(user)
            if facts.get(RsvpNow(self.event_id, user), known) != known:
                raise FlowError(FENCED)
            return known
        stored: Rsvp | None = facts.get(OwnRsvp(self.event_id, user))
        is_waiting = stored is not None and stored.status == "waiting"
        if is_waiting != (user in self.answers.line) or (stored is not None and stored.epoch > self.epoch):
            raise FlowError(FENCED)
        return stored

    def _check_visible(self, user: str, current: Rsvp | None, facts: Facts) -> None:
        terms = self.terms
        if current is None and not may_see(terms.visibility, terms.organizer_id, self.event_id, user, facts):
            raise FlowError(FORBIDDEN)

    def _is_over(self, now_ms: int) -> bool:
        return 0 < self.terms.ends_at_ms <= now_ms

    # --- deciding -----------------------------------------------------------------------------------------------------

    def decide(self, envelope: Envelope, facts: Facts) -> Effects:
        return _DECISIONS[type(envelope.body)](self, envelope, facts)

    def watch(self, envelope: Envelope, facts: Facts) -> Effects:
        current = self._current(envelope.user, facts)
        self._check_visible(envelope.user, current, facts)
        return Effects(self.snapshot(current.status if current is not None else None))

    def snapshot(self, status: str | None = None) -> EventSnapshot:
        answers = self.answers
        return EventSnapshot(
            event_id=self.event_id,
            epoch=self.epoch,
            seq=self.revision,
            attending=answers.attending,
            interested=answers.interested,
            waiting=len(answers.line),
            capacity=self.terms.capacity,
            status=status,
        )

    def show_interest(self, envelope: Envelope, facts: Facts) -> Effects:
        current = self._current(envelope.user, facts)
        self._check_visible(envelope.user, current, facts)
        if current is not None and current.status != "declined":
            return Effects(DONE)
        if self._is_over(envelope.now_ms):
            raise FlowError(EVENT_OVER)
        return self._carry_out(DONE, self._change(envelope, current, "interested"))

    def answer(self, envelope: Envelope, facts: Facts) -> Effects:
        user, wanted, terms = envelope.user, envelope.body.status, self.terms
        current = self._current(user, facts)
        self._check_visible(user, current, facts)
        if current is not None and _is_same(current, wanted):
            self.answers.remember(current)
            return Effects(self._told(current))
        if self._is_over(envelope.now_ms):
            raise FlowError(EVENT_OVER)
        if wanted == "going":
            check_requirements(terms.requirements, terms.organizer_id, self.event_id, user, facts)
        step = self._change(envelope, current, wanted)
        own = next(rsvp for rsvp in reversed(step.rows) if rsvp.user_id == user)
        return self._carry_out(self._told(own), step)

    def _told(self, rsvp: Rsvp) -> RsvpAnswer:
        answers = self.answers
        return RsvpAnswer(
            event_id=self.event_id,
            status=rsvp.status,
            attending=answers.attending,
            interested=answers.interested,
            capacity=self.terms.capacity,
            place=answers.line.rank(rsvp.user_id) if rsvp.status == "waiting" else None,
        )

    def _change(self, envelope: Envelope, current: Rsvp | None, wanted: str) -> Step:
        step = Step(self.epoch, envelope.now_ms)
        self.answers.change(step, envelope.user, current, wanted, self.terms.capacity)
        self.answers.promote(step, self.terms.capacity)
        return step

    def settle(self, envelope: Envelope, facts: Facts) -> Effects:
        step = Step(self.epoch, envelope.now_ms)
        if not self._is_over(envelope.now_ms):
            self.answers.promote(step, self.terms.capacity)
        return self._carry_out(DONE, step)

    def changed(self, envelope: Envelope, facts: Facts) -> Effects:
        terms: EventTerms | None = facts[Terms(self.event_id)]
        wire = facts[WireEvent(self.event_id)]
        if terms is None or wire is None:
            self.is_gone = True
            return Effects(DONE, fan_outs=(self._next("event:update", {"id": self.event_id, "deleted": True}),))
        is_other_capacity = terms.capacity != self.terms.capacity
        self.terms = terms
        self.is_gone = False
        update = self._next("event:update", wire)
        return Effects(DONE, fan_outs=(update, self._counts()) if is_other_capacity else (update,))

    def resume(self, envelope: Envelope, facts: Facts) -> Effects:
        position: Position = envelope.body
        is_current = position.epoch == self.epoch and position.seq == self.revision
        missed = () if is_current else (self._delivery("event:rsvp_update", self._counts_body(), self.revision),)
        return Effects(Resumed(key=self.key, epoch=self.epoch, seq=self.revision, missed=missed, reset=not is_current))

    # --- telling ------------------------------------------------------------------------------------------------------

    def _carry_out(self, reply: Any, step: Step) -> Effects:
        """The rows of a step, and one fan-out for each thing that watchers can see change."""
        fan_outs: list[FanOut] = []
        for rsvp in step.rows:
            if rsvp.status == "interested":
                body = {"eventId": self.event_id, "userId": rsvp.user_id, "action": "interested"}
                fan_outs.append(self._next("event:interest_update", body))
        if step.counts_changed:
            fan_outs.append(self._counts())
        rows = tuple(step.rows)
        return Effects(reply, rows=rows, owed=(True,) * len(rows), fan_outs=tuple(fan_outs))

    def _counts_body(self) -> dict[str, Any]:
        return {
            "eventId": self.event_id,
            "attending": self.answers.attending,
            "interested": self.answers.interested,
            "capacity": self.terms.capacity,
        }

    def _counts(self) -> FanOut:
        return self._next("event:rsvp_update", self._counts_body())

    def _next(self, name: str, body: dict[str, Any]) -> FanOut:
        self.revision += 1
        return self._delivery(name, body, self.revision)

    def _delivery(self, name: str, body: dict[str, Any], revision: int) -> FanOut:
        return FanOut(key=self.key, name=name, body=body, epoch=self.epoch, seq=revision)

    # --- life ---------------------------------------------------------------------------------------------------------

    def is_live(self) -> bool:
        return False

    def is_unsettled(self, now_ms: int) -> bool:
        if self.is_gone or self._is_over(now_ms):
            return False
        return self.answers.can_promote(self.terms.capacity)

    def roll_back(self, refused: Row) -> bool:
        return False

    def inherit(self, before: "EventRoom") -> None:
        """Everything an event's room knows is in storage."""

    def catch_up(self, seq: int) -> Sequence[FanOut] | None:
        return None

    def trim(self) -> None:
        self.answers.forget()


def _is_same(current: Rsvp, wanted: str) -> bool:
    return current.status == wanted or (current.status, wanted) == ("waiting", "going")


_DECISIONS: Final[dict[type[Any], Callable[[EventRoom, Envelope, Facts], Effects]]] = {
    WatchEvent: EventRoom.watch,
    ShowInterest: EventRoom.show_interest,
    AnswerRsvp: EventRoom.answer,
    EventChanged: EventRoom.changed,
    Position: EventRoom.resume,
    Settle: EventRoom.settle,
}
