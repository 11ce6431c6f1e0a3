"""Storage's lists through the two-level cache, so that one which is late or fails does not hold up an answer.

Used by the sources of recommendations. `get_soon` waits for a list for a moment only. Who comes while a list is late
does not wait for it at all, and one that failed is left alone for a while, so that a look which the database cannot
finish costs it little. The look itself goes on, and what it finds is there for whoever comes next.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from cluster.kernel.clock import Clock
from cluster.kernel.errors import DEADLINE_EXCEEDED, OVERLOADED, UNAVAILABLE, FlowError
from storage.cache import Cache, recommendations_cache_key

REST_S: Final = 15.0
MOST_RESTING: Final = 1_000
"""So many lists that failed are remembered, those that failed last."""

Rows = list[tuple[str, float]]
Load = Callable[[], Awaitable[Rows]]


class FallbackLists:
    def __init__(self, cache: Cache, clock: Clock, wait_s: float) -> None:
        self._cache = cache
        self._clock = clock
        self._wait_s = wait_s
        self._loading: set[str] = set()
        self._late: set[str] = set()
        self._resting: dict[str, float] = {}
        self._counts = {"late": 0, "failed": 0, "skipped": 0}

    async def get(self, name: str, load: Load, ttl_s: float) -> Rows:
        """Raises what `load` raises, and OVERLOADED."""
        rows: Rows = await self._cache.get_or_load(recommendations_cache_key(name), load, ttl_s=ttl_s)
        return rows

    async def get_soon(self, name: str, load: Load, ttl_s: float) -> Rows:
        """Empty when the list is late, or when the database did not give it."""
        if name in self._late or self._clock.monotonic() < self._resting.get(name, 0.0):
            self._counts["skipped"] += 1
            return []
        try:
            async with asyncio.timeout(self._wait_s):
                return await self.get(name, lambda: self._load(name, load), ttl_s)
        except TimeoutError:
            self._counts["late"] += 1
            if name in self._loading:
                self._late.add(name)
        except FlowError as error:
            if error.kind not in (UNAVAILABLE, OVERLOADED, DEADLINE_EXCEEDED):
                raise
        return []

    def late(self, prefix: str) -> int:
        """How many lists whose names begin so are still looked for though nobody waits."""
        return sum(name.startswith(prefix) for name in self._late)

    def statistics(self) -> dict[str, float]:
        counts = {f"fallback_lists_{name}": count for name, count in self._counts.items()}
        return {**counts, "fallback_lists_loading_late": len(self._late)}

    async def _load(self, name: str, load: Load) -> Rows:
        """Run by the cache, which owns it whoever waits."""
        self._loading.add(name)
        try:
            return await load()
        except FlowError:
            self._counts["failed"] += 1
            self._rest(name)
            raise
        finally:
            self._loading.discard(name)
            self._late.discard(name)

    def _rest(self, name: str) -> None:
        self._resting.pop(name, None)
        self._resting[name] = self._clock.monotonic() + REST_S
        while len(self._resting) > MOST_RESTING:
            del self._resting[next(iter(self._resting))]
