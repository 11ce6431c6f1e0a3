"""How many people go to each event, kept up to date by reading only what changed.

Used by the catalogue, for what is full and what is popular. It may be behind by one look; capacity itself is the
event room's. Bounded: the counts of at most `MOST_EVENTS` events are held.
"""

from typing import Any, Final

from storage.client import Database

MOST_EVENTS: Final = 200_000
_MOST_CHANGED: Final = 5_000
_OVERLAP_MS: Final = 10_000


class GoingCounts:
    def __init__(self, database: Database) -> None:
        self._rsvps = database.collection("rsvps")
        self._counts: dict[str, int] = {}
        self._newest_ms: int | None = None

    async def counts(self) -> dict[str, int]:
        """A copy, by event; events nobody goes to are left out."""
        if self._newest_ms is None:
            await self._read_all()
        else:
            await self._read_changed(self._newest_ms - _OVERLAP_MS)
        return {event_id: count for event_id, count in self._counts.items() if count}

    async def _read_all(self) -> None:
        newest = await self._rsvps.find({}, projection={"at_ms": 1}, sort=[("at_ms", -1)], limit=1)
        self._counts = await self._grouped({"status": "going"})
        self._newest_ms = newest[0]["at_ms"] if newest else 0

    async def _read_changed(self, since_ms: int) -> None:
        rows = await self._rsvps.find(
            {"at_ms": {"$gte": since_ms}},
            projection={"event_id": 1, "at_ms": 1, "_id": 0},
            sort=[("at_ms", 1)],
            limit=_MOST_CHANGED,
        )
        changed = list({row["event_id"] for row in rows})
        if not changed:
            return
        fresh = await self._grouped({"event_id": {"$in": changed}, "status": "going"})
        for event_id in changed:
            self._counts[event_id] = fresh.get(event_id, 0)
        self._newest_ms = max(row["at_ms"] for row in rows)
        while len(self._counts) > MOST_EVENTS:
            del self._counts[next(iter(self._counts))]

    async def _grouped(self, query: dict[str, Any]) -> dict[str, int]:
        stages: list[dict[str, Any]] = [
            {"$match": query},
            {"$group": {"_id": "$event_id", "count": {"$sum": 1}}},
            {"$limit": MOST_EVENTS},
        ]
        rows = await self._rsvps.aggregate(stages, limit=MOST_EVENTS)
        return {row["_id"]: row["count"] for row in rows}
