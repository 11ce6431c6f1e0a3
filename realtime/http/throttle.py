"""How fast one address, one person or one username may ask: token buckets by name, a bounded number of them.

The dispatcher and the login operations call it before any work is done. The buckets are this edge's own; several edges
together allow as many times more. It promises a bounded memory and an answer that says when to come back.
"""

from typing import Final

from cluster.kernel.clock import Clock
from cluster.kernel.errors import RATE_LIMITED, FlowError
from realtime.admission import TokenBucket
from realtime.limits import Rate

MAX_NAMES: Final = 65_536


class Throttle:
    """One rate for many names. Past `max_names` the names whose bucket is full are forgotten, then the oldest."""

    def __init__(self, rate: Rate, clock: Clock, *, max_names: int = MAX_NAMES) -> None:
        self._rate = rate
        self._clock = clock
        self._max_names = max_names
        self._buckets: dict[str, TokenBucket] = {}
        self._refused = 0

    def take(self, name: str) -> None:
        """Count one request of `name`. Raises FlowError RATE_LIMITED with when to try again."""
        now = self._clock.monotonic()
        bucket = self._buckets.get(name)
        if bucket is None:
            if len(self._buckets) >= self._max_names:
                self._forget(now)
            bucket = self._buckets[name] = TokenBucket(self._rate)
        wait = bucket.take(now)
        if wait:
            self._refused += 1
            raise FlowError(RATE_LIMITED, retry_after_ms=max(1, round(wait * 1000)))

    def _forget(self, now: float) -> None:
        self._buckets = {name: bucket for name, bucket in self._buckets.items() if not bucket.is_full(now)}
        excess = len(self._buckets) - self._max_names * 9 // 10
        for name in list(self._buckets)[: max(0, excess)]:
            del self._buckets[name]

    def statistics(self) -> dict[str, float]:
        return {"names": len(self._buckets), "refused": self._refused}
