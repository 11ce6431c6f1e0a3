"""RsvpLedger in memory, for tests of rules and hosts. Held to the same contract suite as MongoDB's."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from typing import Any

import msgspec

from cluster.kernel.errors import EVENT_NOT_FOUND, FlowError
from storage.bounds import check_batch, page_limit
from storage.leases import MOST_FAILURES
from storage.records import AppendResult, EventHead, OwedRsvp, Rsvp
from tests.support.memory_faults import Faults

_Row = tuple[str, str]


class MemoryRsvpLedger:
    """Events are put in with `put_event`; `faults` applies to `append` and `claim`."""

    def __init__(self) -> None:
        self.faults = Faults()
        self._events: dict[str, EventHead] = {}
        self._rows: dict[_Row, Rsvp] = {}
        self._owed: dict[_Row, int] = {}
        self._failures: Counter[Rsvp] = Counter()
        self._earlier: dict[_Row, tuple[Rsvp, ...]] = {}

    async def put_event(
        self,
        event_id: str,
        *,
        organizer_id: str = "organizer",
        title: str = "An event",
        visibility: str = "public",
        starts_at_ms: int = 0,
        ends_at_ms: int = 0,
        capacity: int | None = None,
        requirements: dict[str, Any] | None = None,
    ) -> None:
        """Add the event, or change it and keep its epoch."""
        known = self._events.get(event_id)
        self._events[event_id] = EventHead(
            event_id=event_id,
            epoch=0 if known is None else known.epoch,
            organizer_id=organizer_id,
            title=title,
            visibility=visibility,
            starts_at_ms=starts_at_ms,
            ends_at_ms=ends_at_ms,
            capacity=capacity,
            requirements=requirements or {},
            attending=0,
            interested=0,
            taken=(),
            waiting=(),
        )

    async def remove_event(self, event_id: str) -> None:
        self._events.pop(event_id, None)

    async def claim(self, event_id: str) -> EventHead:
        fault = await self.faults.before()
        event = self._events.get(event_id)
        if event is None:
            raise FlowError(EVENT_NOT_FOUND)
        self._events[event_id] = event = msgspec.structs.replace(event, epoch=event.epoch + 1)
        rows = [row for row in self._rows.values() if row.event_id == event_id]
        head = msgspec.structs.replace(
            event,
            attending=sum(row.status == "going" for row in rows),
            interested=sum(row.status == "interested" for row in rows),
            taken=tuple(sorted(row.seat for row in rows if row.seat is not None)),
            waiting=tuple(sorted((row.place, row.user_id) for row in rows if row.place is not None)),
        )
        await self.faults.after(fault)
        return head

    async def append(self, rsvps: Sequence[Rsvp], owed: Sequence[bool]) -> AppendResult:
        check_batch(rsvps)
        fault = await self.faults.before()
        result = self._append(rsvps, owed)
        await self.faults.after(fault)
        return result

    def _append(self, rsvps: Sequence[Rsvp], owed: Sequence[bool]) -> AppendResult:
        for index, (rsvp, owes) in enumerate(zip(rsvps, owed, strict=True)):
            row = (rsvp.event_id, rsvp.user_id)
            current, event = self._rows.get(row), self._events.get(rsvp.event_id)
            if event is None or event.epoch > rsvp.epoch:
                return AppendResult(index, "fenced")
            if current is not None and current.epoch > rsvp.epoch:
                return AppendResult(index, "fenced")
            holder = self._holder(rsvp)
            if holder is not None and holder not in rsvps[index + 1 :]:
                return AppendResult(index, "position")
            if holder is not None:
                continue  # this very batch gave the seat on before: a second writing of it finds its own end
            self._rows[row] = rsvp
            was_owed = self._owed.pop(row, None) is not None
            earlier = self._earlier.pop(row, ())
            if owes:
                self._owed[row] = 0
                if was_owed and current is not None:
                    before = msgspec.structs.replace(current, seat=None, place=None, promoted=False)
                    self._earlier[row] = (*earlier, before)[-16:]
        return AppendResult(len(rsvps))

    def _holder(self, rsvp: Rsvp) -> Rsvp | None:
        """Another person's row with the same seat or place."""
        for row in self._rows.values():
            if row.event_id != rsvp.event_id or row.user_id == rsvp.user_id:
                continue
            same_seat = rsvp.seat is not None and row.seat == rsvp.seat
            if same_seat or (rsvp.place is not None and row.place == rsvp.place):
                return row
        return None

    async def rsvp(self, event_id: str, user_id: str) -> Rsvp | None:
        await asyncio.sleep(0)
        return self._rows.get((event_id, user_id))

    async def going(self, event_id: str, after_user_id: str | None, limit: int) -> list[str]:
        page_limit(limit)
        await asyncio.sleep(0)
        users = sorted(row.user_id for row in self._rows.values() if row.event_id == event_id and row.status == "going")
        return [user for user in users if after_user_id is None or user > after_user_id][:limit]

    async def lease_owed(self, worker: str, now_ms: int, lease_ms: int, limit: int) -> list[OwedRsvp]:
        page_limit(limit)
        await asyncio.sleep(0)
        free = [row for row, until in self._owed.items() if until <= now_ms][:limit]
        for row in free:
            self._owed[row] = now_ms + lease_ms
        return [OwedRsvp(self._rows[row], self._earlier.get(row, ())) for row in free]

    async def settle_owed(self, rsvps: Sequence[Rsvp]) -> None:
        check_batch(rsvps)
        await asyncio.sleep(0)
        for rsvp in rsvps:
            row = (rsvp.event_id, rsvp.user_id)
            if self._rows.get(row) == rsvp:
                self._owed.pop(row, None)
                self._earlier.pop(row, None)

    async def fail_owed(self, rsvps: Sequence[Rsvp], error: str) -> None:
        check_batch(rsvps)
        await asyncio.sleep(0)
        for rsvp in rsvps:
            row = (rsvp.event_id, rsvp.user_id)
            self._failures[rsvp] += 1
            if self._rows.get(row) == rsvp and self._failures[rsvp] >= MOST_FAILURES:
                self._owed.pop(row, None)
