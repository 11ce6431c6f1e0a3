"""The answers to one event: counts, seats and the waiting line, and how one person's answer changes them. Pure.

Owned by the event's machine. A step is one durable batch: the person's own row first, then whoever gets a freed seat,
so that at no point of the batch two people hold one seat.
"""

from actors.limits import RoomLimits
from actors.seats import Seats
from actors.waiting_line import WaitingLine
from storage.records import EventHead, Rsvp


class Step:
    """The rows of one batch, as they come about."""

    __slots__ = ("at_ms", "counts_changed", "epoch", "rows")

    def __init__(self, epoch: int, at_ms: int) -> None:
        self.epoch = epoch
        self.at_ms = at_ms
        self.rows: list[Rsvp] = []
        self.counts_changed = False


class Answers:
    __slots__ = ("_event_id", "_known", "_limits", "attending", "interested", "line", "seats")

    def __init__(self, head: EventHead, limits: RoomLimits) -> None:
        self._event_id = head.event_id
        self._limits = limits
        self.attending = head.attending
        self.interested = head.interested
        self.seats = Seats(head.taken)
        self.line = WaitingLine(head.waiting)
        self._known: dict[str, Rsvp] = {}

    # --- what is known of people --------------------------------------------------------------------------------------

    def is_known(self, user: str) -> bool:
        return user in self._known

    def known(self, user: str) -> Rsvp | None:
        return self._known.get(user)

    def remember(self, rsvp: Rsvp) -> None:
        self._known.pop(rsvp.user_id, None)
        self._known[rsvp.user_id] = rsvp
        if len(self._known) > self._limits.known_answers:
            del self._known[next(iter(self._known))]

    def forget(self) -> None:
        self._known = {}

    # --- changes ------------------------------------------------------------------------------------------------------

    def change(self, step: Step, user: str, current: Rsvp | None, wanted: str, capacity: int | None) -> None:
        """This person's answer becomes `wanted`; going becomes waiting when there is no seat or others wait."""
        self._release(user, current)
        seat = place = None
        status = wanted
        if wanted == "going":
            if self._has_seat(capacity) and not len(self.line):
                seat = self.seats.take() if capacity is not None else None
                self.attending += 1
            else:
                status = "waiting"
                place = self.line.join(user)
        elif wanted == "interested":
            self.interested += 1
        before = current.status if current is not None else None
        step.counts_changed |= bool({before, status} & {"going", "interested"})
        self._add(step, user, status, seat=seat, place=place)

    def _release(self, user: str, current: Rsvp | None) -> None:
        if current is None:
            return
        if current.status == "going":
            self.attending -= 1
            if current.seat is not None:
                self.seats.give_back(current.seat)
        elif current.status == "interested":
            self.interested -= 1
        elif current.status == "waiting":
            self.line.leave(user)

    def _has_seat(self, capacity: int | None) -> bool:
        return capacity is None or (self.attending < capacity and self.seats.lowest_free <= capacity)

    def can_promote(self, capacity: int | None) -> bool:
        return len(self.line) > 0 and self._has_seat(capacity)

    def promote(self, step: Step, capacity: int | None) -> None:
        """Give free seats to the first in line, at most one step's worth."""
        while self.can_promote(capacity) and len(step.rows) <= self._limits.promotions_a_step:
            user = self.line.first()
            assert user is not None
            self.line.leave(user)
            seat = self.seats.take() if capacity is not None else None
            self.attending += 1
            step.counts_changed = True
            self._add(step, user, "going", seat=seat, promoted=True)

    def _add(
        self,
        step: Step,
        user: str,
        status: str,
        *,
        seat: int | None = None,
        place: int | None = None,
        promoted: bool = False,
    ) -> None:
        rsvp = Rsvp(
            event_id=self._event_id,
            user_id=user,
            status=status,
            epoch=step.epoch,
            at_ms=step.at_ms,
            seat=seat,
            place=place,
            promoted=promoted,
        )
        self.remember(rsvp)
        step.rows.append(rsvp)
