"""The catalogue: the events that are not over, as the recommender reads them, and what changes in them. It is the
recommender's Catalogue port.

Used inside the recommender's replicas, which rank these events and no others. A replica says how many it holds; those
that end soonest are read. Only what a model may know of an event is read.
"""

import logging
import time
from collections.abc import Callable
from typing import Any, Final

from cluster.kernel.errors import UNAVAILABLE, FlowError
from serve_apps.contracts import CatalogueChanges, CatalogueEvent, LiveEvents, ScoredEvent, Signals
from storage.client import Database
from storage.dates import to_date, to_ms
from storage.going_counts import GoingCounts
from storage.recommendation_queries import RecommendationQueries
from storage.settings import StorageSettings

_log = logging.getLogger("flow.recommender")

PAGE_ROWS: Final = 5_000
MOST_CHANGES: Final = 5_000
MOST_TRENDING: Final = 400
OVERLAP_MS: Final = 10_000
"""Changes are read again for as long as a write may take to become visible after it took its time."""

EVENT_FIELDS: Final[dict[str, int]] = {
    "title": 1,
    "category": 1,
    "tags": 1,
    "location.coordinates": 1,
    "datetime.start": 1,
    "datetime.end": 1,
    "visibility": 1,
    "organizer.id": 1,
    "pricing": 1,
    "capacity.max": 1,
    "createdAt": 1,
}

MOST_TRENDING_AGE_MS: Final = 60_000
TRENDING_REST: Final = 100.0
"""What trends halves in days, and with much to read it takes the database a while: after a look there is none for so
many times as long."""


class MongoCatalogue:
    def __init__(
        self,
        database: Database,
        monotonic: Callable[[], float] = time.monotonic,
        queries: RecommendationQueries | None = None,
    ) -> None:
        self._database = database
        self._monotonic = monotonic
        self._events = database.collection("events")
        self._queries = queries or RecommendationQueries(database)
        self._going = GoingCounts(database)
        self._trending: tuple[ScoredEvent, ...] = ()
        self._trending_until_ms = 0

    async def live_events(self, now_ms: int, most: int) -> LiveEvents:
        found: list[CatalogueEvent] = []
        not_over = {"datetime.end": {"$gte": to_date(now_ms)}}
        pages = self._events.pages(
            not_over,
            projection=EVENT_FIELDS,
            sort=[("datetime.end", 1), ("_id", 1)],
            page_rows=PAGE_ROWS,
        )
        async for page in pages:
            found += [catalogue_event(row) for row in page]
            if len(found) >= most:
                break
        await pages.aclose()
        left_out = max(0, await self._events.count(not_over) - most) if len(found) >= most else 0
        return LiveEvents(tuple(found[:most]), left_out)

    async def changes(self, since_ms: int) -> CatalogueChanges | None:
        rows = await self._events.find(
            {"updatedAt": {"$gte": to_date(since_ms - OVERLAP_MS)}},
            projection={**EVENT_FIELDS, "updatedAt": 1},
            sort=[("updatedAt", 1), ("_id", 1)],
            limit=MOST_CHANGES,
        )
        if len(rows) == MOST_CHANGES:
            return None  # an import, most likely: reading everything is quicker
        newest = max((to_ms(row["updatedAt"]) for row in rows), default=since_ms)
        return CatalogueChanges(events=tuple(catalogue_event(row) for row in rows), cursor_ms=max(since_ms, newest))

    async def signals(self, now_ms: int) -> Signals:
        if now_ms >= self._trending_until_ms:
            await self._look_at_trend(now_ms)
        return Signals(trending=self._trending, going=await self._going.counts())

    async def _look_at_trend(self, now_ms: int) -> None:
        """What the database cannot tell in time stays as it was, and holds up nothing else."""
        started = self._monotonic()
        try:
            self._trending = tuple(await self._queries.trending(now_ms, MOST_TRENDING))
        except FlowError as error:
            if error.kind is not UNAVAILABLE:
                raise
            _log.warning("what trends cannot be read; what trended before stays: %s", error.message)
        took_ms = (self._monotonic() - started) * 1000
        self._trending_until_ms = now_ms + min(MOST_TRENDING_AGE_MS, round(TRENDING_REST * took_ms))

    async def close(self) -> None:
        await self._database.close()


async def open_catalogue(uri: str, database: str) -> MongoCatalogue:
    """A catalogue with a client of its own. Raises FlowError START_FAILED for a wrong address, UNAVAILABLE."""
    opened = Database(StorageSettings(uri=uri, database=database, pool_size=4))
    try:
        await opened.ping()
    except BaseException:
        await opened.close()
        raise
    return MongoCatalogue(opened)


def catalogue_event(row: dict[str, Any]) -> CatalogueEvent:
    """What a model may know of a stored event."""
    location = row.get("location")
    coordinates: tuple[float, float] | None = tuple(location["coordinates"]) if location else None
    return CatalogueEvent(
        event_id=row["_id"],
        title=row["title"],
        category=row["category"],
        tags=tuple(row["tags"]),
        coordinates=coordinates,
        start_ms=to_ms(row["datetime"]["start"]),
        end_ms=to_ms(row["datetime"]["end"]),
        is_public=row["visibility"] == "public",
        organizer_id=(row.get("organizer") or {}).get("id") or "",
        price=_price(row.get("pricing") or {}),
        capacity=(row.get("capacity") or {}).get("max"),
        published_ms=to_ms(row["createdAt"]) if "createdAt" in row else 0,
    )


def _price(pricing: dict[str, Any]) -> float:
    return float(pricing.get("amount") or 0.0) if pricing.get("type") != "free" else 0.0
