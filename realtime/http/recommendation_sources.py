"""Where recommendations come from: the recommender, and while it is away storage's lists through the two-level cache.

The recommendations operation asks it. It promises that the recommender is never waited for past its deadline, and that
what trends and what is near is left out when it is late: what starts soonest, one look in an index, is the last resort.
The lists are shared by everybody who would get the same one, so what one person knows is left out when they are merged.
"""

import asyncio
import math
from typing import Final

from cluster.kernel.errors import DEADLINE_EXCEEDED, UNAVAILABLE, FlowError
from realtime.http.context import ApiContext
from realtime.http.fallback_lists import FallbackLists, Rows
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

FILLING: Final = "filling:"

Place = tuple[float, float]


class Sources:
    def __init__(self, context: ApiContext) -> None:
        self._context = context
        self._lists = FallbackLists(
            context.storage.cache, context.clock, context.settings.recommendation_list_wait_ms / 1000
        )
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

        return _candidates("trending", await self._lists.get_soon("trending", load, LIST_TTL_S))

    async def nearby(self, place: Place, kilometres: float) -> list[Candidate]:
        centre = (round(place[0], _CELL_DECIMALS), round(place[1], _CELL_DECIMALS))

        async def load() -> list[tuple[str, float]]:
            queries = self._context.storage.recommendations
            now_ms = self._context.clock.now_ms()
            return _kept(await queries.nearby(now_ms, centre, kilometres * 1000.0, LIST_LENGTH))

        name = f"nearby:{centre[0]},{centre[1]},{kilometres}"
        return _candidates("nearby", await self._lists.get_soon(name, load, LIST_TTL_S))

    async def filling_nearby(self, place: Place, kilometres: float) -> list[Candidate]:
        """What is near the middle of the place's region; empty rather than one more costly reading at a time."""
        key = recommendations_cache_key(name := _filling_name(place, kilometres))
        reading = self._filling + self._lists.late(FILLING)
        if not self._context.storage.cache.holds(key) and reading >= MOST_FILLING_LOADS:
            self._skipped += 1
            return []
        centre = _middle(place)

        async def load() -> list[tuple[str, float]]:
            queries = self._context.storage.recommendations
            now_ms = self._context.clock.now_ms()
            return _kept(await queries.nearby(now_ms, centre, kilometres * 1000.0, FILLING_LENGTH))

        self._filling += 1
        try:
            return _candidates("nearby", await self._lists.get_soon(name, load, FILLING_TTL_S))
        finally:
            self._filling -= 1

    def statistics(self) -> dict[str, float]:
        regions = {"fallback_regions_reading": self._filling, "fallback_regions_skipped": self._skipped}
        return {**regions, **self._lists.statistics()}

    async def social(self, user_id: str) -> list[Candidate]:
        async def load() -> list[tuple[str, float]]:
            queries = self._context.storage.recommendations
            return _kept(await queries.social(user_id, self._context.clock.now_ms(), LIST_LENGTH))

        return _candidates("social", await self._lists.get(f"social:{user_id}", load, LIST_TTL_S))

    async def upcoming(self) -> list[Candidate]:
        """What starts soonest, the last resort where nobody has done anything yet; then what has begun.

        What has begun is looked for where little is to come: for it a year of events that are over is looked through.
        """
        now_ms = self._context.clock.now_ms()
        rows = await self._lists.get(
            "upcoming", lambda: self._starting(EventFilters(starts_after_ms=now_ms)), LIST_TTL_S
        )
        if len(rows) < LIST_LENGTH:
            begun = EventFilters(starts_before_ms=now_ms, not_over_at_ms=now_ms)
            rows += await self._lists.get_soon("begun", lambda: self._starting(begun), LIST_TTL_S)
        return [Candidate(event_id, "upcoming") for event_id, _ in rows]

    async def _starting(self, filters: EventFilters) -> Rows:
        page = await self._context.storage.events.upcoming(filters, LIST_LENGTH)
        return [(event["_id"], 0.0) for event in page.items]


def _candidates(reason: str, rows: Rows) -> list[Candidate]:
    return [Candidate(event_id, reason, score) for event_id, score in rows]


def _middle(place: Place) -> Place:
    """Of the region that the place is in."""
    longitude, latitude = (math.floor(degrees / FILLING_CELL_DEGREES) + 0.5 for degrees in place)
    return min(180.0, longitude * FILLING_CELL_DEGREES), min(90.0, latitude * FILLING_CELL_DEGREES)


def _filling_name(place: Place, kilometres: float) -> str:
    centre = _middle(place)
    return f"{FILLING}{centre[0]},{centre[1]},{kilometres}"


def _kept(events: list[ScoredEvent]) -> list[tuple[str, float]]:
    return [(event.event_id, event.score) for event in events]
