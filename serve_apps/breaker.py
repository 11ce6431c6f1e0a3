"""A circuit breaker: after several failures in a row it says no at once for a while, then lets one attempt through.

Owned by one caller of one service, used from one event loop; it keeps no task and reads time from its clock alone.
"""

from typing import Any

from cluster.kernel.clock import Clock


class Breaker:
    """Opens for `open_seconds` after `failures` in a row; one success closes it."""

    def __init__(self, clock: Clock, *, failures: int = 3, open_seconds: float = 1.0) -> None:
        self._clock = clock
        self._limit = failures
        self._open_seconds = open_seconds
        self._in_a_row = 0
        self._open_until = 0.0
        self._probing = False
        self._opened = 0

    def try_enter(self) -> bool:
        """Whether an attempt may be made; each True must be followed by `succeeded`, `failed` or `abandoned`."""
        if self._in_a_row < self._limit:
            return True
        if self._probing or self._clock.monotonic() < self._open_until:
            return False
        self._probing = True
        return True

    def succeeded(self) -> None:
        self._in_a_row = 0
        self._probing = False

    def failed(self) -> None:
        self._in_a_row += 1
        self._probing = False
        if self._in_a_row >= self._limit:
            self._open_until = self._clock.monotonic() + self._open_seconds
            self._opened += 1

    def abandoned(self) -> None:
        """The attempt ended without saying anything of the service."""
        self._probing = False

    @property
    def is_open(self) -> bool:
        return self._in_a_row >= self._limit

    def remaining_ms(self) -> int:
        """Milliseconds until the next attempt may be made."""
        return max(0, round((self._open_until - self._clock.monotonic()) * 1000))

    def statistics(self) -> dict[str, Any]:
        return {"failuresInARow": self._in_a_row, "opened": self._opened}
