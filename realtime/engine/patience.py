"""How long those may take who all have the same time: connections without a request, admissions, closed sockets.

Who came first is due first, so a line in the order they came is enough: one place in the wheel for all of them, where
one for each would cost a crowd more than what it waits for. Its users bound how many there are.
"""

from collections.abc import Iterator
from itertools import islice
from typing import Final, Generic, Protocol, TypeVar

from cluster.kernel.clock import Clock
from realtime.engine.ping_wheel import PingWheel

_LOOKED_AT_A_TICK: Final = 1_000


class Waiting(Protocol):
    """Hashable by identity."""

    def out_of_time(self) -> None:
        """Called once, if `end` was not. It may begin and end others."""


W = TypeVar("W", bound=Waiting)


class Patience(Generic[W]):
    """Each has `seconds`, and up to one tick of the wheel more."""

    __slots__ = ("_clock", "_seconds", "_until", "_wheel", "wheel_slot")

    def __init__(self, wheel: PingWheel, clock: Clock, seconds: float) -> None:
        self.wheel_slot = -1
        self._wheel = wheel
        self._clock = clock
        self._seconds = seconds
        self._until: dict[W, float] = {}

    def __len__(self) -> int:
        return len(self._until)

    def __iter__(self) -> Iterator[W]:
        return iter(self._until)

    def begin(self, waiting: W) -> None:
        """One that waits already goes on waiting."""
        until = self._clock.monotonic() + self._seconds
        self._until.setdefault(waiting, until)
        if self.wheel_slot == -1:
            self._wheel.schedule(self, until)

    def end(self, waiting: W) -> None:
        """It waits no more; nothing happens when it did not."""
        self._until.pop(waiting, None)
        if not self._until:
            self._wheel.forget(self)

    def tick(self, now: float) -> float | None:
        """For the wheel."""
        for waiting in [each for each, until in islice(self._until.items(), _LOOKED_AT_A_TICK) if until <= now]:
            if self._until.pop(waiting, None) is not None:
                waiting.out_of_time()
        return next(iter(self._until.values()), None)
