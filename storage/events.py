"""The `events` collection: event documents, and the lists of them that people ask for.

Used by the HTTP interface, by importers and by hosts that read an event's terms. Documents go in and come out in the
stored form (`_id`, dates); `event_documents.to_wire` makes the public one. Lists page by key, never by skipping: each
page costs the same. It never decides who may see or change an event.
"""

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from datetime import datetime
from typing import Any, Final, NamedTuple

from cluster.kernel.clock import Clock
from cluster.kernel.errors import EVENT_NOT_FOUND, INVALID_REQUEST, FlowError
from cluster.kernel.ids import new_id
from storage.bounds import MAX_ROWS, check_batch, page_limit
from storage.cache import Cache, event_cache_key
from storage.client import Database, Duplicate
from storage.cursors import decode_cursor, encode_cursor
from storage.dates import to_date, to_ms
from storage.event_documents import CHANGEABLE, Document, complete, plain
from storage.event_filters import EventFilters
from storage.event_imports import EventImports, Outcome
from storage.invitations import MongoInvitations

_LONGEST_SEARCH: Final = 256
_ALL: Final = EventFilters()


class EventPage(NamedTuple):
    """`next` continues the list; None when it ends here. Items of `near` carry `distanceMetres`."""

    items: list[Document]
    next: str | None


class MongoEvents:
    """With a `cache`, whoever keeps events under `event_cache_key` is told of every change before it begins."""

    def __init__(self, database: Database, clock: Clock, cache: Cache | None = None) -> None:
        self._events = database.collection("events")
        self._read = database.collection("events", direct=True)
        """By id, as rooms do that wake, and answers that show many."""
        self._clock = clock
        self._cache = cache
        self._imports = EventImports(database, clock, self._changing)
        self._invitations = MongoInvitations(database)

    async def is_invited(self, event_id: str, user_id: str) -> bool:
        return await self._invitations.is_invited(event_id, user_id)

    async def upsert_imported(self, documents: Sequence[Mapping[str, Any]]) -> list[Outcome]:
        """What became of each document of an import, in order: imported, unchanged or updated.

        Raises FlowError INVALID_REQUEST when a document is incomplete or does not say its source.
        """
        return await self._imports.upsert_imported(documents)

    async def create(self, document: Mapping[str, Any]) -> Document:
        """Store a new event and return it whole. With an `_id` of the caller's, creating it again changes nothing.

        Raises FlowError INVALID_REQUEST when it has no title, start or end.
        """
        now = to_date(self._clock.now_ms())
        stored = {"_id": new_id(), **complete(document), "room": {"epoch": 0}, "createdAt": now, "updatedAt": now}
        try:
            await self._events.insert_one(stored)
        except Duplicate as duplicate:
            existing = await self.by_id(stored["_id"])
            if existing is None or duplicate.fields != ("_id",):
                raise FlowError(INVALID_REQUEST, "An event of that source exists.", fields=("source",)) from duplicate
            return existing
        return stored

    async def by_id(self, event_id: str) -> Document | None:
        return await self._read.find_one({"_id": event_id})

    async def by_ids(self, event_ids: Sequence[str]) -> list[Document]:
        """Those that exist, in the order of the ids."""
        check_batch(event_ids)
        if not event_ids:
            return []
        rows = await self._read.find({"_id": {"$in": list(event_ids)}}, limit=len(event_ids))
        found = {row["_id"]: row for row in rows}
        return [found[event_id] for event_id in event_ids if event_id in found]

    async def existing(self, event_ids: Sequence[str]) -> frozenset[str]:
        """Those that exist."""
        check_batch(event_ids)
        rows = await self._read.find({"_id": {"$in": list(event_ids)}}, projection={"_id": 1}, limit=MAX_ROWS)
        return frozenset(row["_id"] for row in rows)

    async def update(self, event_id: str, changes: Mapping[str, Any]) -> Document:
        """Replace the fields named in `changes` and return the whole event.

        Raises FlowError EVENT_NOT_FOUND, or INVALID_REQUEST naming a field that cannot be changed.
        """
        unknown = tuple(sorted(changes.keys() - CHANGEABLE))
        if unknown:
            raise FlowError(INVALID_REQUEST, f"{', '.join(unknown)} of an event cannot be changed.", fields=unknown)
        set_ = {name: plain(value) for name, value in changes.items()}
        set_["updatedAt"] = to_date(self._clock.now_ms())
        async with self._changing([event_id]):
            row = await self._events.find_one_and_update({"_id": event_id}, {"$set": set_})
        if row is None:
            raise FlowError(EVENT_NOT_FOUND)
        return row

    async def delete(self, event_id: str) -> bool:
        """False when there was none. Its answers and chat stay."""
        async with self._changing([event_id]):
            return await self._events.delete_one({"_id": event_id}) == 1

    def _changing(self, event_ids: Sequence[str]) -> AbstractAsyncContextManager[None]:
        if self._cache is None or not event_ids:
            return nullcontext()
        return self._cache.changing(*map(event_cache_key, event_ids))

    async def upcoming(self, filters: EventFilters, limit: int, cursor: str | None = None) -> EventPage:
        """By start, soonest first."""
        page_limit(limit)
        clauses = [filters.query()]
        if cursor is not None:
            start_ms, after_id = decode_cursor(cursor, "upcoming", int, str)
            start = _date(start_ms)
            later = [{"datetime.start": {"$gt": start}}, {"datetime.start": start, "_id": {"$gt": after_id}}]
            clauses.append({"datetime.start": {"$gte": start}, "$or": later})
        rows = await self._events.find({"$and": clauses}, sort=[("datetime.start", 1), ("_id", 1)], limit=limit + 1)
        return _page(rows, limit, "upcoming", lambda row: (to_ms(row["datetime"]["start"]), row["_id"]))

    async def near(
        self,
        coordinates: tuple[float, float],
        max_metres: float,
        limit: int,
        cursor: str | None = None,
        filters: EventFilters = _ALL,
    ) -> EventPage:
        """By distance from (longitude, latitude), nearest first, each with its `distanceMetres`."""
        page_limit(limit)
        near: dict[str, Any] = {
            "near": {"type": "Point", "coordinates": list(coordinates)},
            "key": "location",
            "distanceField": "distanceMetres",
            "maxDistance": max_metres,
            "query": filters.query(),
        }
        stages: list[dict[str, Any]] = [{"$geoNear": near}]
        if cursor is not None:
            metres, after_id = decode_cursor(cursor, "near", float, str)
            near["minDistance"] = max(0.0, metres - 1.0)  # the index rounds; the exact cut follows
            further = [{"distanceMetres": {"$gt": metres}}, {"distanceMetres": metres, "_id": {"$gt": after_id}}]
            stages.append({"$match": {"$or": further}})
        stages += [{"$sort": {"distanceMetres": 1, "_id": 1}}, {"$limit": limit + 1}]
        rows = await self._events.aggregate(stages, limit=limit + 1)
        return _page(rows, limit, "near", lambda row: (float(row["distanceMetres"]), row["_id"]))

    async def search(self, text: str, limit: int, cursor: str | None = None, filters: EventFilters = _ALL) -> EventPage:
        """By how well title, description and tags match the words of `text`, best first.

        Raises FlowError INVALID_REQUEST when `text` is empty or longer than 256 characters.
        """
        page_limit(limit)
        if not text.strip() or len(text) > _LONGEST_SEARCH:
            raise FlowError(INVALID_REQUEST, f"Search for 1 to {_LONGEST_SEARCH} characters.", fields=("text",))
        stages: list[dict[str, Any]] = [
            {"$match": {"$text": {"$search": text}, **filters.query()}},
            {"$addFields": {"score": {"$meta": "textScore"}}},
        ]
        if cursor is not None:
            score, after_id = decode_cursor(cursor, "search", float, str)
            stages.append({"$match": {"$or": [{"score": {"$lt": score}}, {"score": score, "_id": {"$gt": after_id}}]}})
        stages += [{"$sort": {"score": -1, "_id": 1}}, {"$limit": limit + 1}]
        rows = await self._events.aggregate(stages, limit=limit + 1)
        page = _page(rows, limit, "search", lambda row: (float(row["score"]), row["_id"]))
        for row in page.items:
            del row["score"]
        return page


def _page(rows: list[Document], limit: int, kind: str, position: Any) -> EventPage:
    """One row more than the page was asked for: it tells whether the list goes on."""
    more = len(rows) > limit
    items = rows[:limit]
    return EventPage(items, encode_cursor(kind, *position(items[-1])) if more else None)


def _date(at_ms: int) -> datetime:
    try:
        return to_date(at_ms)
    except OverflowError as error:
        raise FlowError(INVALID_REQUEST, "The cursor is not one that this list gave.", fields=("cursor",)) from error
