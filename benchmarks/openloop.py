"""The open loop: when each message ought to leave, whatever the server does, so that a stall is not left out.

A closed loop sends less while the server stalls and so measures the stall once instead of once for each message it
would have delayed. Here the times are fixed beforehand and a latency counts from the intended time, never the real one.
"""

import math
from collections.abc import Iterator, Sequence


class Schedule:
    """From `start` (seconds, any clock) on: each of `phases` is (messages a second, seconds), one after the other."""

    def __init__(self, start: float, phases: Sequence[tuple[float, float]]) -> None:
        if not phases or any(rate <= 0 or seconds <= 0 for rate, seconds in phases):
            raise ValueError("a schedule needs phases, each with a rate and a length")
        self._phases: list[tuple[int, float, float]] = []
        self.total = 0
        for rate, seconds in phases:
            self._phases.append((self.total, start, rate))
            self.total += math.floor(rate * seconds)
            start += seconds
        self._next = 0

    def intended(self, index: int) -> float:
        """When message `index` ought to leave. Computed from its phase's start, so that errors do not add up."""
        first, start, rate = max(phase for phase in self._phases if phase[0] <= index)
        return start + (index - first) / rate

    def due(self, now: float) -> Iterator[float]:
        """The intended times that have come and were not given yet, the oldest first; late ones keep their time."""
        while self._next < self.total:
            intended = self.intended(self._next)
            if intended > now:
                return
            self._next += 1
            yield intended

    @property
    def is_over(self) -> bool:
        return self._next >= self.total
