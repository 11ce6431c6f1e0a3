"""Where recommendations come from: the recommender, and while it is away storage's lists through the two-level cache.

The recommendations operation asks it. It promises that the recommender is never waited for past its deadline. The lists
are shared by everybody who would get the same one, so what one person knows is left out later, when they are merged.
"""

import asyncio
import math
from typing import Any, Final

from cluster.kernel.errors import DEADLINE_EXCEEDED, UNAVAILABLE, FlowError
from realtime.http.context import ApiContext
from realtime.http.recommendation_merge import Candidate
from serve_apps.contracts import RecommendationAnswer, RecommendationRequest, ScoredEvent
from storage.cache import recommendations_cache_key
from storage.event_filters import EventFilters

LIST_TTL_S: Final = 15.0
FILLING_TTL_S: Final = 120.0
FILLING_LENGTH: Final = 200
LIST_LENGTH: Final = 400
"""How many one cached list holds: the most one may ask for, and as many again as one person is likely to know."""

_CELL_DECIMALS: Final = 2
"""People within about a kilometre share a list of what is nearby."""

FILLING_CELL_DEGREES: Final = 0.5
"""People of one region share a list that only fills up."""
MOST_FILLING_LOADS: Final = 1
"""So many such lists are read at once: each looks at thousands of events, just when there is too much to do."""

Place = tuple[float, float]


class Sources:
    def __init__(self, context: ApiContext) -> None:
        self._context = context
        self._filling = 0
        self._skipped = 0
        self.deadline_ms = context.settings.recommendation_deadline_ms

    async def ask_model(self, request: RecommendationRequest) -> RecommendationAnswer:
        """Raises FlowError UNAVAILABLE, OVERLOADED or DEADLINE_EXCEEDED."""
        if self._context.recommender is None:
            raise FlowError(UNAVAILABLE)
        try:
            async with asyncio.timeout(self.deadline_ms / 1000):
                return await self._context.recommender.recommend(request)
        except TimeoutError:
            raise FlowError(DEADLINE_EXCEEDED) from None

    async def trending(self) -> list[Candidate]:
        async def load() -> list[tuple[str, float]]:
            queries = self._context.storage.recommendations
            return _kept(await queries.trending(self._context.clock.now_ms(), LIST_LENGTH))

        return await self._list("trending", "trending", load)

    async def nearby(self, place: Place, kilometres: float) -> list[Candidate]:
        centre = (round(place[0], _CELL_DECIMALS), round(place[1], _CELL_DECIMALS))

        async def load() -> list[tuple[str, float]]:
            queries = self._context.storage.recommendations
            now_ms = self._context.clock.now_ms()
            return _kept(await queries.nearby(now_ms, centre, kilometres * 1000.0, LIST_LENGTH))

        return await self._list("nearby", f"nearby:{centre[0]},{centre[1]},{kilometres}", load)

    async def filling_nearby(self, place: Place, kilometres: float) -> list[Candidate]:
        """What is near the middle of the place's region; empty rather than one more costly reading at a time."""
        key = recommendations_cache_key(name := _filling_name(place, kilometres))
        if not self._context.storage.cache.holds(key) and self._filling >= MOST_FILLING_LOADS:
            self._skipped += 1
            return []
        centre = _middle(place)

        async def load() -> list[tuple[str, float]]:
            queries = self._context.storage.recommendations
            now_ms = self._context.clock.now_ms()
            return _kept(await queries.nearby(now_ms, centre, kilometres * 1000.0, FILLING_LENGTH))

        self._filling += 1
        try:
            return await self._list("nearby", name, load, ttl_s=FILLING_TTL_S)
        finally:
            self._filling -= 1

    def statistics(self) -> dict[str, float]:
        return {"fallback_regions_reading": self._filling, "fallback_regions_skipped": self._skipped}

    async def social(self, user_id: str) -> list[Candidate]:
        async def load() -> list[tuple[str, float]]:
            queries = self._context.storage.recommendations
            return _kept(await queries.social(user_id, self._context.clock.now_ms(), LIST_LENGTH))

        return await self._list("social", f"social:{user_id}", load)

    async def upcoming(self) -> list[Candidate]:
        """What starts soonest: the last resort, where nobody has done anything yet."""

        async def load() -> list[tuple[str, float]]:
            filters = EventFilters(not_over_at_ms=self._context.clock.now_ms())
            page = await self._context.storage.events.upcoming(filters, LIST_LENGTH)
            return [(event["_id"], 0.0) for event in page.items]

        found = await self._list("upcoming", "upcoming", load)
        return [candidate._replace(score=None) for candidate in found]

    async def _list(self, reason: str, name: str, load: Any, ttl_s: float = LIST_TTL_S) -> list[Candidate]:
        key = recommendations_cache_key(name)
        rows = await self._context.storage.cache.get_or_load(key, load, ttl_s=ttl_s)
        return [Candidate(event_id, reason, score) for event_id, score in rows]


def _middle(place: Place) -> Place:
    """Of the region that the place is in."""
    longitude, latitude = (math.floor(degrees / FILLING_CELL_DEGREES) + 0.5 for degrees in place)
    return min(180.0, longitude * FILLING_CELL_DEGREES), min(90.0, latitude * FILLING_CELL_DEGREES)


def _filling_name(place: Place, kilometres: float) -> str:
    centre = _middle(place)
    return f"filling:{centre[0]},{centre[1]},{kilometres}"


def _kept(events: list[ScoredEvent]) -> list[tuple[str, float]]:
    return [(event.event_id, event.score) for event in events]
