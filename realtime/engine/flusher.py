"""Joins what goes to a socket into few writes: all of one loop turn, and of what goes to many, all of one round.

A write costs the kernel several times what the rest of a delivery costs. So broadcasts are written in rounds: after a
round the next one waits as long as that one took, and what comes meanwhile leaves in the same writes. An edge with
little to do has short rounds and waits for nothing; one with much writes half of the time and several messages at once.
Whoever has something of its own to send, an answer or a heartbeat, is not kept by that, and takes with it what waits.

Never awaits, starts no task. A bounded number is flushed per turn, so that ten thousand do not hold the loop.
"""

import asyncio
from typing import Final, Protocol

from cluster.kernel.clock import Clock

_FLUSHES_PER_TURN: Final = 64
"""A write costs up to 30 µs."""

_LONGEST_REST_S: Final = 0.01
_SHORTEST_REST_S: Final = 0.001
"""The loop's timers are no finer."""


class Flushable(Protocol):
    def flush(self) -> None:
        """Send what is pending. Must not raise; called when there may be nothing left to send."""


class Flusher:
    """One per engine. A transport adds itself when it has its first pending message, not for each."""

    __slots__ = ("_clock", "_dirty", "_loop", "_next", "_rest_until", "_resting", "_round", "_scheduled", "_spent_s")

    def __init__(self, loop: asyncio.AbstractEventLoop, clock: Clock) -> None:
        self._loop = loop
        self._clock = clock
        self._dirty: list[Flushable] = []
        self._scheduled = False
        self._next: list[Flushable] = []
        self._round: list[Flushable] = []
        self._resting = False
        self._rest_until = 0.0
        self._spent_s = 0.0

    def __len__(self) -> int:
        return len(self._dirty) + len(self._next) + len(self._round)

    def add(self, transport: Flushable) -> None:
        """Flush it when this turn is over."""
        self._dirty.append(transport)
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._flush_some()
        self._scheduled = bool(self._dirty)
        if self._scheduled:
            self._loop.call_soon(self._flush)

    def _flush_some(self) -> None:
        batch = self._dirty[:_FLUSHES_PER_TURN]
        del self._dirty[:_FLUSHES_PER_TURN]
        for transport in batch:
            transport.flush()

    def add_to_round(self, transport: Flushable) -> None:
        """Flush it with the next round: what it was sent goes to others too."""
        self._next.append(transport)
        if not self._resting:
            self._resting = True
            self._begin_round_later()

    def _begin_round_later(self) -> None:
        rest = self._rest_until - self._clock.monotonic()
        if rest < _SHORTEST_REST_S:
            self._loop.call_soon(self._begin_round)
        else:
            self._loop.call_later(rest, self._begin_round)

    def _begin_round(self) -> None:
        self._round, self._next = self._next, []
        self._round.reverse()
        self._spent_s = 0.0
        self._go_round()

    def _go_round(self) -> None:
        if self._dirty:
            self._flush_some()  # an answer does not wait for those who are only told
        began, left = self._clock.monotonic(), self._round
        for _ in range(min(len(left), _FLUSHES_PER_TURN)):
            left.pop().flush()
        now = self._clock.monotonic()
        self._spent_s += now - began
        if left:
            self._loop.call_soon(self._go_round)
            return
        self._rest_until = now + min(self._spent_s, _LONGEST_REST_S)
        self._resting = bool(self._next)
        if self._resting:
            self._begin_round_later()
