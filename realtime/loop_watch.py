"""How late an event loop is, how much of that its own thread computed, and how much it was blocked.

The edge takes a beat now and then and feeds what it finds to load shedding. A loop that is late while its thread
computes is held by some callback. What it is late without having stood in line for a processor it was blocked: by a
callback that computes, a call that waits, or another thread of the process. What it stood in line is the machine's load
and no fault of the process. It promises that no turn computes for longer than what is told, which is too much by an
interval's work at most, and that no turn blocks for longer than what is told and an interval.
"""

import asyncio
import os
import time
from collections.abc import Callable
from typing import Final

from cluster.kernel.clock import Clock

_MINUTES_KEPT: Final = 5
_MINUTE_S: Final = 60.0


def time_in_line() -> float:
    """The seconds that this thread has been ready to run while its processor had others to run; 0 where the system does
    not say. The second number, in nanoseconds, of what Linux documents in `Documentation/scheduler/sched-stats`."""
    try:
        descriptor = os.open("/proc/thread-self/schedstat", os.O_RDONLY)
    except OSError:
        return 0.0
    try:
        return int(os.pread(descriptor, 64, 0).split()[1]) / 1e9
    finally:
        os.close(descriptor)


class LoopWatch:
    """`thread_time` is the processor time of the loop's thread in seconds, `in_line` what it has waited for one."""

    def __init__(
        self,
        clock: Clock,
        thread_time: Callable[[], float] = time.thread_time,
        in_line: Callable[[], float] = time_in_line,
    ) -> None:
        self._clock = clock
        self._thread_time = thread_time
        self._in_line = in_line
        self._late = _Longest(clock)
        self._held = _Longest(clock)
        self._blocked = _Longest(clock)

    async def beat(self, interval_s: float) -> float:
        """Wait that long; the seconds by which the loop was late."""
        began, used, waited = self._clock.monotonic(), self._thread_time(), self._in_line()
        await asyncio.sleep(interval_s)
        passed_s = self._clock.monotonic() - began
        late_s = max(0.0, passed_s - interval_s)
        self._late.add(late_s)
        self._held.add(self._thread_time() - used)
        # What was waited for in line may all have been before the beat was due, so it is taken from the whole.
        self._blocked.add(min(late_s, max(0.0, passed_s - (self._in_line() - waited))))
        return late_s

    def statistics(self) -> dict[str, float]:
        """The longest of the last few minutes: late in all, computed between two beats, and blocked."""
        return {
            "loop_late_s_max": self._late.value,
            "loop_held_s_max": self._held.value,
            "loop_blocked_s_max": self._blocked.value,
        }


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
