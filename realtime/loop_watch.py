"""How late an event loop is, and how much of that its own thread computed.

The edge takes a beat now and then and feeds what it finds to load shedding. A loop that is late while its thread
computes is held by some callback. One that is late while its thread does not waits for a processor, for another thread
of the process, or in a call that blocks: which of them, it does not say. It promises an upper bound: no turn computes
for longer than what is told, which is too much by an interval's work at most.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Final

from cluster.kernel.clock import Clock

_MINUTES_KEPT: Final = 5
_MINUTE_S: Final = 60.0


class LoopWatch:
    """`thread_time` is the processor time of the loop's thread in seconds."""

    def __init__(self, clock: Clock, thread_time: Callable[[], float] = time.thread_time) -> None:
        self._clock = clock
        self._thread_time = thread_time
        self._late = _Longest(clock)
        self._held = _Longest(clock)

    async def beat(self, interval_s: float) -> float:
        """Wait that long; the seconds by which the loop was late."""
        began, used = self._clock.monotonic(), self._thread_time()
        await asyncio.sleep(interval_s)
        late_s = max(0.0, self._clock.monotonic() - began - interval_s)
        self._late.add(late_s)
        self._held.add(self._thread_time() - used)
        return late_s

    def statistics(self) -> dict[str, float]:
        """The longest of the last few minutes: late in all, and computed between two beats."""
        return {"loop_late_s_max": self._late.value, "loop_held_s_max": self._held.value}


class _Longest:
    """The greatest of the last few minutes, one number each."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._by_minute: dict[int, float] = {}

    def add(self, value: float) -> None:
        minute = int(self._clock.monotonic() // _MINUTE_S)
        kept = self._by_minute
        if value > kept.get(minute, -1.0):
            kept[minute] = value
            for old in [one for one in kept if one <= minute - _MINUTES_KEPT]:
                del kept[old]

    @property
    def value(self) -> float:
        minute = int(self._clock.monotonic() // _MINUTE_S)
        return max((value for at, value in self._by_minute.items() if at > minute - _MINUTES_KEPT), default=0.0)
