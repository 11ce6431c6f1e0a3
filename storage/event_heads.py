"""What an owner of an event room starts from: the claim on the event's document, then a count of its answers.

Used by the RSVP ledger alone. The claim is durable before anything is read, so every answer that an earlier owner may
have acknowledged is counted. An owner that stopped in the middle of a batch is undone first: its open transaction would
hold the event for a minute.
"""

import asyncio
from collections.abc import Set as AbstractSet
from typing import Any, Final

from cluster.kernel.errors import EVENT_NOT_FOUND, FlowError
from storage.client import Collection, Database, Session, Transaction
from storage.dates import to_ms
from storage.records import EventHead

_MOST_SEATS: Final = 100_000
_LONGEST_LINE: Final = 500_000


class EventHeads:
    """Remembers with each event in which session its owner writes, for the owner after it."""

    def __init__(self, database: Database, rsvps: Collection) -> None:
        self._database = database
        self._events = database.collection("events")
        self._rsvps = rsvps
        self._session: Session | None = None
        self._opening = asyncio.Lock()

    async def session(self) -> Session:
        """The one in which this process writes answers."""
        async with self._opening:
            if self._session is None:
                self._session = await self._database.open_session()
        return self._session

    async def claim(self, event_id: str) -> EventHead:
        """Raises FlowError EVENT_NOT_FOUND."""
        earlier = await self._events.find_one({"_id": event_id}, {"room.session": 1})
        if earlier is None:
            raise FlowError(EVENT_NOT_FOUND)
        session = await self.session()
        left = (earlier.get("room") or {}).get("session")
        if left is not None and left != session.id:
            await self._database.undo_open_transaction(left)
        event = await self._events.find_one_and_update(
            {"_id": event_id},
            {"$inc": {"room.epoch": 1}, "$set": {"room.session": session.id}},
            projection={"description": 0, "media": 0},
        )
        if event is None:
            raise FlowError(EVENT_NOT_FOUND)
        seats = await self._rsvps.find(
            {"event_id": event_id, "seat": {"$gte": 1}},
            projection={"seat": 1, "_id": 0},
            sort=[("seat", 1)],
            limit=_MOST_SEATS,
        )
        line = await self._rsvps.find(
            {"event_id": event_id, "place": {"$gte": 0}},
            projection={"place": 1, "user_id": 1, "_id": 0},
            sort=[("place", 1)],
            limit=_LONGEST_LINE,
        )
        attending = await self._rsvps.count({"event_id": event_id, "status": "going"})
        interested = await self._rsvps.count({"event_id": event_id, "status": "interested"})
        return _head(event, attending, interested, seats, line)

    async def hold(self, event_ids: AbstractSet[str], transaction: Transaction) -> dict[str, int]:
        """The epochs of those events that exist; nobody can claim one of them before the transaction ends."""
        which = {"_id": {"$in": list(event_ids)}}
        await self._events.update_many(which, {"$inc": {"room.writes": 1}}, within=transaction)
        rows = await self._events.find(
            which, projection={"room.epoch": 1}, limit=max(1, len(event_ids)), within=transaction
        )
        return {row["_id"]: int((row.get("room") or {}).get("epoch", 0)) for row in rows}


def _head(
    event: dict[str, Any],
    attending: int,
    interested: int,
    seats: list[dict[str, Any]],
    line: list[dict[str, Any]],
) -> EventHead:
    times = event["datetime"]
    return EventHead(
        event_id=event["_id"],
        epoch=event["room"]["epoch"],
        organizer_id=(event.get("organizer") or {}).get("id") or "",
        title=event["title"],
        visibility=event["visibility"],
        starts_at_ms=to_ms(times["start"]),
        ends_at_ms=to_ms(times["end"]),
        capacity=(event.get("capacity") or {}).get("max"),
        requirements=event.get("requirements") or {},
        attending=attending,
        interested=interested,
        taken=tuple(row["seat"] for row in seats),
        waiting=tuple((row["place"], row["user_id"]) for row in line),
    )
