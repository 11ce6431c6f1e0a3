"""When an edge takes no new work: one small controller, fed with what the edge measures, asked before anything costly.

Pure: it knows numbers and a clock, neither sockets nor tasks. It promises that new sockets come in no faster than the
edge's own rate; that while the event loop is late or requests pile up none come in at all; that readiness turns false
when any measure is near its bound, and true again only after all of them have been well below for a while. Work that
was accepted is never its business: it refuses only what is new, and says when to come back.
"""

from typing import Final, NamedTuple

from cluster.kernel.clock import Clock
from cluster.kernel.errors import OVERLOADED, FlowError
from realtime.admission import TokenBucket
from realtime.limits import EdgeLimits

_SMOOTHING: Final = 0.5
_MOST_RETRY_S: Final = 30.0
_SOCKETS_ALONE: Final = frozenset({"sockets"})


class Pressure(NamedTuple):
    """What the edge measured: shares of what it may hold, 1.0 being full, and how late its loop was in seconds."""

    sockets: float
    requests: float
    lag_s: float


class LoadShedding:
    """`observe` it every `limits.pressure_interval_s`; ask `wait_s` or `check` before a new socket is worked on."""

    def __init__(self, limits: EdgeLimits, clock: Clock) -> None:
        self._limits = limits
        self._clock = clock
        self._arrivals = TokenBucket(limits.arrivals)
        self._lag_s = 0.0
        self._high: frozenset[str] = frozenset()
        self._calm_since: float | None = None
        self._refused = 0
        self._times_shed = 0

    # --- measuring ----------------------------------------------------------------------------------------------------

    def observe(self, pressure: Pressure) -> None:
        """One late turn alone does not count as a late loop: the lag is smoothed over a few samples."""
        self._lag_s += _SMOOTHING * (pressure.lag_s - self._lag_s)
        smoothed = pressure._replace(lag_s=self._lag_s)
        high = _over(smoothed, self._limits.shed_at, self._limits.shed_lag_s)
        if high:
            self._times_shed += not self._high
            self._high |= high
            self._calm_since = None
        elif self._high:
            self._recover(smoothed)

    def _recover(self, pressure: Pressure) -> None:
        if _over(pressure, self._limits.recover_at, self._limits.recover_lag_s):
            self._calm_since = None
            return
        now = self._clock.monotonic()
        if self._calm_since is None:
            self._calm_since = now
        if now - self._calm_since >= self._limits.recover_after_s:
            self._high = frozenset()
            self._calm_since = None

    # --- asking -------------------------------------------------------------------------------------------------------

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why the edge is not ready for new work: of `sockets`, `requests` and `loop`; empty when it is ready."""
        return tuple(sorted(self._high))

    @property
    def is_shedding(self) -> bool:
        """Sockets alone are no reason: up to the bound they are let in, though the edge asks for no more of them."""
        return bool(self._high) and self._high != _SOCKETS_ALONE

    def wait_s(self) -> float:
        """Take a new socket in: 0.0, or the seconds after which it may ask again; nothing is taken then."""
        wait = self._retry_s() if self.is_shedding else self._arrivals.take(self._clock.monotonic())
        self._refused += wait > 0
        return wait

    def check(self) -> None:
        """Before the costly part of admitting a new socket. Raises FlowError OVERLOADED with when to come back."""
        if self.is_shedding:
            self._refused += 1
            raise FlowError(OVERLOADED, retry_after_ms=max(1, round(self._retry_s() * 1000)))

    def _retry_s(self) -> float:
        return min(_MOST_RETRY_S, self._limits.recover_after_s)

    def statistics(self) -> dict[str, float]:
        return {
            "loop_lag_s": self._lag_s,
            "shedding": float(self.is_shedding),
            "ready_for_load": float(not self._high),
            "arrivals_refused": self._refused,
            "times_shed": self._times_shed,
        }


def _over(pressure: Pressure, share: float, lag_s: float) -> frozenset[str]:
    measured = {
        "sockets": pressure.sockets >= share,
        "requests": pressure.requests >= share,
        "loop": pressure.lag_s >= lag_s,
    }
    return frozenset(name for name, is_over in measured.items() if is_over)
