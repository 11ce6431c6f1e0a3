"""How many people go to each event, kept up to date by reading only what changed.

Used by the catalogue, for what is full and what is popular. It may be behind by one look, or by a few after a rush;
capacity itself is the event room's. Bounded: of more events than `most_events` the newest are counted, by their ids,
which sort by time. Each look begins a little before the newest answer known, because answers are stored by many hosts
and a later one may be there first.
"""

import heapq
from typing import Any, Final

from storage.client import Database

MOST_EVENTS: Final = 200_000
_OVERLAP_MS: Final = 10_000


class GoingCounts:
    """A look reads at most `pages` pages of `page_rows` answers, oldest first."""

    def __init__(
        self, database: Database, *, most_events: int = MOST_EVENTS, page_rows: int = 5_000, pages: int = 4
    ) -> None:
        self._rsvps = database.collection("rsvps")
        self._most_events = most_events
        self._page_rows = page_rows
        self._pages = pages
        self._counts: dict[str, int] = {}
        self._since_ms: int | None = None
        """Where the next look begins; None before the first."""

    async def counts(self) -> dict[str, int]:
        """A copy, by event; events nobody goes to are left out."""
        if self._since_ms is None:
            await self._read_all()
        else:
            await self._read_changed(self._since_ms)
        return {event_id: count for event_id, count in self._counts.items() if count}

    async def _read_all(self) -> None:
        newest = await self._rsvps.find({}, projection={"at_ms": 1}, sort=[("at_ms", -1)], limit=1)
        self._counts = await self._grouped({"status": "going"})
        self._since_ms = newest[0]["at_ms"] - _OVERLAP_MS if newest else 0

    async def _read_changed(self, since_ms: int) -> None:
        changed: set[str] = set()
        for _ in range(self._pages):
            rows = await self._rsvps.find(
                {"at_ms": {"$gte": since_ms}},
                projection={"event_id": 1, "at_ms": 1, "_id": 0},
                sort=[("at_ms", 1)],
                limit=self._page_rows,
            )
            changed.update(row["event_id"] for row in rows)
            if len(rows) < self._page_rows:
                if rows:
                    since_ms = rows[-1]["at_ms"] - _OVERLAP_MS
                break
            # A millisecond with more answers than a page is passed by, not waited at.
            since_ms = max(rows[-1]["at_ms"], since_ms + 1)
        if changed:
            fresh = await self._grouped({"event_id": {"$in": list(changed)}, "status": "going"})
            self._counts |= {event_id: fresh.get(event_id, 0) for event_id in changed}
            self._forget_the_oldest()
        self._since_ms = since_ms

    def _forget_the_oldest(self) -> None:
        for event_id in heapq.nsmallest(len(self._counts) - self._most_events, self._counts):
            del self._counts[event_id]

    async def _grouped(self, query: dict[str, Any]) -> dict[str, int]:
        stages: list[dict[str, Any]] = [
            {"$match": query},
            {"$group": {"_id": "$event_id", "count": {"$sum": 1}}},
            {"$sort": {"_id": -1}},
            {"$limit": self._most_events},
        ]
        rows = await self._rsvps.aggregate(stages, limit=self._most_events)
        return {row["_id"]: row["count"] for row in rows}
