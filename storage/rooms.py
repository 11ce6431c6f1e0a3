"""The `rooms` collection: one document a chat room, with the epoch of its owner.

Used by the chat log and by whoever creates groups. `claim` promises that epochs of one room only go up and that a claim
is durable before it is answered; what a claim means for a running owner is decided where messages are appended.
"""

from collections.abc import Sequence
from typing import Any

from cluster.kernel.clock import Clock
from cluster.kernel.errors import ROOM_NOT_FOUND, FlowError
from storage.bounds import check_batch
from storage.client import Database, Duplicate
from storage.records import RoomRecord


class Rooms:
    def __init__(self, database: Database, clock: Clock) -> None:
        self._rooms = database.collection("rooms")
        self._clock = clock

    async def create(self, record: RoomRecord) -> None:
        """Idempotent by id: a room that exists stays as it is."""
        await self._upsert(record.id, {"$setOnInsert": {**_document(record), "epoch": 0}})

    async def claim(self, room_id: str, kind: str, *, create: bool) -> int:
        """The new epoch. Raises FlowError ROOM_NOT_FOUND when there is no such room and `create` is false."""
        update: dict[str, Any] = {"$inc": {"epoch": 1}}
        if not create:
            found = await self._rooms.find_one_and_update({"_id": room_id}, update, projection={"epoch": 1})
            if found is None:
                raise FlowError(ROOM_NOT_FOUND)
            return int(found["epoch"])
        fresh = RoomRecord(id=room_id, kind=kind, name="", created_by="", created_at_ms=self._clock.now_ms())
        return int((await self._upsert(room_id, update | {"$setOnInsert": _document(fresh)}))["epoch"])

    async def epochs(self, room_ids: Sequence[str]) -> dict[str, int]:
        """The epochs of those rooms that exist, as a majority knows them."""
        rows = await self._rooms.find(
            {"_id": {"$in": list(room_ids)}}, projection={"epoch": 1}, limit=max(1, len(room_ids))
        )
        return {row["_id"]: int(row["epoch"]) for row in rows}

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

    async def _upsert(self, room_id: str, update: dict[str, Any]) -> dict[str, Any]:
        try:
            found = await self._rooms.find_one_and_update({"_id": room_id}, update, upsert=True)
        except Duplicate:  # made by another owner in the same moment
            found = await self._rooms.find_one_and_update({"_id": room_id}, update, upsert=True)
        assert found is not None
        return found


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
