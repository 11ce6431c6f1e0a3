"""The catalogue: every event that is not over, as the recommender reads it. It is the recommender's Catalogue port.

Used inside the recommender's replicas, which rank these events and no others. Bounded at 100,000 events, the soonest to
end first; only what a model may know of an event is read.
"""

from typing import Any, Final

from serve_apps.contracts import CatalogueEvent
from storage.client import Database
from storage.dates import to_date, to_ms
from storage.settings import StorageSettings

MOST_EVENTS: Final = 100_000
PAGE_ROWS: Final = 5_000

EVENT_FIELDS: Final[dict[str, int]] = {
    "title": 1,
    "category": 1,
    "tags": 1,
    "location.coordinates": 1,
    "datetime.start": 1,
    "datetime.end": 1,
    "visibility": 1,
}


class MongoCatalogue:
    def __init__(self, database: Database) -> None:
        self._database = database
        self._events = database.collection("events")

    async def live_events(self, now_ms: int) -> list[CatalogueEvent]:
        found: list[CatalogueEvent] = []
        pages = self._events.pages(
            {"datetime.end": {"$gte": to_date(now_ms)}},
            projection=EVENT_FIELDS,
            sort=[("datetime.end", 1), ("_id", 1)],
            page_rows=PAGE_ROWS,
        )
        async for page in pages:
            found += [catalogue_event(row) for row in page]
            if len(found) >= MOST_EVENTS:
                break
        await pages.aclose()
        return found[:MOST_EVENTS]

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
    )
