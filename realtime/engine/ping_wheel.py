"""One timer for all sockets of the process: heartbeats, and every deadline of a socket.

A wheel of slots, each one tick wide. An entry sits in the slot of its next deadline; when the slot's time has come the
entry is asked what is due and when it wants to be called next. Deadlines that move later cost nothing until then.
No task per socket and no timer per socket: the loop holds one timer handle, for the earliest slot that is not empty.
"""

import asyncio
import logging
import math
from typing import Final, Protocol

from cluster.kernel.clock import Clock

_ENTRIES_PER_TURN: Final = 1_000
_SHORTEST_TICK_S: Final = 0.005
_LONGEST_TICK_S: Final = 0.25
_TICKS_PER_DEADLINE: Final = 40

_logger = logging.getLogger("flow.engine")


class WheelEntry(Protocol):
    wheel_slot: int
    """Owned by the wheel: the slot the entry sits in, -1 when in none."""

    def tick(self, now: float) -> float | None:
        """Do what is due at `now`, in monotonic seconds, and return when to be called next; None leaves the wheel."""


class PingWheel:
    """Calls an entry at or up to one tick after the time it asked for, never before."""

    def __init__(self, clock: Clock, loop: asyncio.AbstractEventLoop, *, shortest_deadline_s: float) -> None:
        self._clock = clock
        self._loop = loop
        self.tick_s = min(_LONGEST_TICK_S, max(_SHORTEST_TICK_S, shortest_deadline_s / _TICKS_PER_DEADLINE))
        self._slots: dict[int, set[WheelEntry]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._timer_slot = -1

    def __len__(self) -> int:
        return sum(len(entries) for entries in self._slots.values())

    def schedule(self, entry: WheelEntry, at: float) -> None:
        """Call `entry.tick` at `at` if that is earlier than what it waits for; a later time the entry keeps itself."""
        slot = math.ceil(at / self.tick_s)
        if entry.wheel_slot != -1:
            if entry.wheel_slot <= slot:
                return
            self.forget(entry)
        entry.wheel_slot = slot
        entries = self._slots.get(slot)
        if entries is not None:
            entries.add(entry)
            return
        self._slots[slot] = {entry}
        if self._timer is None or slot < self._timer_slot:
            self._arm()

    def forget(self, entry: WheelEntry) -> None:
        """Do not call `entry` any more; it may be scheduled again."""
        entries = self._slots.get(entry.wheel_slot)
        entry.wheel_slot = -1
        if entries is not None:
            entries.discard(entry)

    def stop(self) -> None:
        """Forget every entry. The wheel can be used again."""
        self._slots.clear()
        self._arm()

    def advance(self) -> None:
        """Serve every slot whose time has come, a bounded number of entries; the loop's timer calls this."""
        now = self._clock.monotonic()
        budget = _ENTRIES_PER_TURN
        for slot in sorted(slot for slot in self._slots if slot * self.tick_s <= now):
            entries = self._slots[slot]
            while entries and budget:
                self._serve(entries.pop(), now)
                budget -= 1
            if not entries:
                del self._slots[slot]
        self._arm()

    def _serve(self, entry: WheelEntry, now: float) -> None:
        entry.wheel_slot = -1
        try:
            at = entry.tick(now)
        except Exception:
            _logger.exception("a socket's timer failed")
            return
        if at is not None:
            self.schedule(entry, max(at, now + self.tick_s / 2))

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._slots:
            self._timer_slot = min(self._slots)
            wait = max(0.0, self._timer_slot * self.tick_s - self._clock.monotonic())
            self._timer = self._loop.call_later(wait, self.advance)
