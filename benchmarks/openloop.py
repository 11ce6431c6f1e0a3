"""The open loop: when each message ought to leave, whatever the server does, so that a stall is not left out.

A closed loop sends less while the server stalls and so measures the stall once instead of once for each message it
would have delayed. Here the times are fixed beforehand and a latency counts from the intended time, never the real one.
"""

import math
from collections.abc import Iterator


class Schedule:
    """`rate` messages a second from `start` (seconds, any clock) for `seconds`."""

    def __init__(self, rate: float, start: float, seconds: float) -> None:
        if rate <= 0 or seconds <= 0:
            raise ValueError("a schedule needs a rate and a length")
        self.rate = rate
        self.start = start
        self.total = math.floor(rate * seconds)
        self._next = 0

    def intended(self, index: int) -> float:
        """When message `index` ought to leave. Computed from the start, so that errors do not add up."""
        return self.start + index / self.rate

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
