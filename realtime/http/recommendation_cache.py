"""One person's recommendations, kept under the seed's own key and used as long as nothing speaks against it.

Used by the recommendations operation. What is kept is which events, why and in which order; the events themselves are
read anew each time, so nothing hidden or over is ever shown from here. An entry is dropped when the person acts, when
something new that may matter to the person was published since it was made, and after `FRESH_MS` in any case; the
cache's own expiry (an hour) only clears away what nobody asks for. Fallback answers are not kept.
"""

import math
from collections.abc import Awaitable, Callable
from typing import Any, Final

import msgspec

from realtime.http.context import ApiContext
from serve_apps.contracts import RecommendationAnswer
from storage.cache import recommendations_cache_key
from storage.user_features import PersonFeatures

FRESH_MS: Final = 300_000
EXPIRY_S: Final = 3_600.0
NEWEST_TTL_S: Final = 2.0
NEWEST: Final = 200
_SAFETY_MS: Final = 10_000
"""An event counts as new for an entry that was made so long after it: a replica may not have known it yet."""
_NEAR_DEGREES: Final = 0.5


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """`newest` are events that the entry was checked against already and that it knows."""

    made_ms: int
    answer: RecommendationAnswer


class New(msgspec.Struct, frozen=True, kw_only=True):
    """An event published or changed lately."""

    event_id: str
    at_ms: int
    topics: tuple[str, ...]
    coordinates: tuple[float, float] | None


class RecommendationCache:
    def __init__(self, context: ApiContext) -> None:
        self._context = context
        self._counts = {"recommendations_kept": 0, "recommendations_from_cache": 0, "recommendations_outdated": 0}

    async def get_or_ask(
        self, user_id: str, person: PersonFeatures, ask: Callable[[], Awaitable[RecommendationAnswer]]
    ) -> RecommendationAnswer:
        """Raises what `ask` raises."""
        storage, key = self._context.storage, recommendations_cache_key(user_id)
        asked: list[RecommendationAnswer] = []

        async def load() -> Any:
            answer = await ask()
            asked.append(answer)
            if answer.fallback:
                return None
            self._counts["recommendations_kept"] += 1
            return Kept(made_ms=self._context.clock.now_ms(), answer=answer)

        found = await storage.cache.get_or_load_encoded(key, load, ttl_s=EXPIRY_S)
        if asked:
            return asked[0]
        kept = _decoded(found)
        if kept is not None and await self._holds(kept, person):
            self._counts["recommendations_from_cache"] += 1
            return kept.answer
        if kept is not None:
            self._counts["recommendations_outdated"] += 1
            await storage.cache.invalidate(key)
            _ = await storage.cache.get_or_load_encoded(key, load, ttl_s=EXPIRY_S)
        return asked[0] if asked else await ask()

    def statistics(self) -> dict[str, float]:
        return dict(self._counts)

    async def _holds(self, kept: Kept, person: PersonFeatures) -> bool:
        age = self._context.clock.now_ms() - kept.made_ms
        if age > FRESH_MS:
            return False
        newest = await self._newest()
        since = kept.made_ms - _SAFETY_MS
        if len(newest) == NEWEST and newest[-1].at_ms > since:
            return False  # more was published than is looked at
        shown = {event.event_id for event in kept.answer.events}
        return not any(
            new.at_ms > since and new.event_id not in shown and age > 0 and _matters(new, person) for new in newest
        )

    async def _newest(self) -> list[New]:
        async def load() -> Any:
            rows = await self._context.storage.recommendations.newest(NEWEST)
            return [New(**row) for row in rows]

        found = await self._context.storage.cache.get_or_load_encoded(
            recommendations_cache_key("newest"), load, ttl_s=NEWEST_TTL_S
        )
        return [] if found is None else msgspec.msgpack.decode(found, type=list[New])


def _decoded(found: bytes | None) -> Kept | None:
    try:
        return None if found is None else msgspec.msgpack.decode(found, type=Kept)
    except msgspec.DecodeError:
        return None  # another build's


def _matters(new: New, person: PersonFeatures) -> bool:
    """It shares a topic with the person's interests, or is near."""
    if not {name.casefold() for name in person.interests}.isdisjoint(new.topics):
        return True
    if new.coordinates is None or person.coordinates is None:
        return False
    stretch = max(0.1, math.cos(math.radians(person.coordinates[1])))
    across = abs(new.coordinates[0] - person.coordinates[0]) * stretch
    return max(across, abs(new.coordinates[1] - person.coordinates[1])) < _NEAR_DEGREES
