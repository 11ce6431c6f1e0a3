"""The `rooms` collection: one document a chat room.

Used by the chat log and by whoever creates groups. Who owns a room is written at the end of its log (storage/seals.py)
and not here; documents of earlier builds have an `epoch`, which is only read.
"""

from collections.abc import Sequence
from typing import Any

from storage.bounds import check_batch
from storage.client import Database, Duplicate
from storage.records import RoomRecord


class Rooms:
    def __init__(self, database: Database) -> None:
        self._rooms = database.collection("rooms", direct=True)

    async def create(self, record: RoomRecord) -> None:
        """Idempotent by id: a room that exists stays as it is."""
        try:
            await self._rooms.update_one({"_id": record.id}, {"$setOnInsert": _document(record)}, upsert=True)
        except Duplicate:
            return  # made by somebody else in the same moment

    async def by_id(self, room_id: str) -> RoomRecord | None:
        row = await self._rooms.find_one({"_id": room_id})
        return None if row is None else _record(row)

    async def by_ids(self, room_ids: Sequence[str]) -> list[RoomRecord]:
        """Those that exist, in the order of the ids."""
        check_batch(room_ids)
        if not room_ids:
            return []
        rows = await self._rooms.find({"_id": {"$in": list(room_ids)}}, limit=len(room_ids))
        found = {row["_id"]: _record(row) for row in rows}
        return [found[room_id] for room_id in room_ids if room_id in found]


def _record(row: dict[str, Any]) -> RoomRecord:
    return RoomRecord(
        id=row["_id"],
        kind=row["kind"],
        name=row["name"],
        created_by=row["created_by"],
        created_at_ms=row["created_at_ms"],
    )


def _document(record: RoomRecord) -> dict[str, Any]:
    return {
        "kind": record.kind,
        "name": record.name,
        "created_by": record.created_by,
        "created_at_ms": record.created_at_ms,
    }
