"""The `memberships` collection: one row a person and chat room, with the person's read mark there.

Used by hosts on joining, sending and reading, and by the relay that finds a room's people. It never decides who may
become a member.
"""

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from storage.bounds import check_batch, page_limit
from storage.client import BatchRefused, Database, InsertOne


class MongoMemberships:
    def __init__(self, database: Database) -> None:
        self._rows = database.collection("memberships", direct=True)

    async def is_member(self, room_id: str, user_id: str) -> bool:
        return await self._rooms_row(room_id, user_id) is not None

    async def members_among(self, pairs: Sequence[tuple[str, str]]) -> set[tuple[str, str]]:
        check_batch(pairs)
        by_id = {_id(*pair): pair for pair in pairs}
        if not by_id:
            return set()
        rows = await self._rows.find({"_id": {"$in": list(by_id)}}, projection={"_id": 1}, limit=len(by_id))
        return {by_id[row["_id"]] for row in rows}

    async def add(self, room_id: str, user_ids: Sequence[str], now_ms: int) -> None:
        """Idempotent."""
        check_batch(user_ids)
        rows = [
            {
                "_id": _id(room_id, user_id),
                "room_id": room_id,
                "user_id": user_id,
                "joined_at_ms": now_ms,
                "read_seq": 0,
            }
            for user_id in dict.fromkeys(user_ids)
        ]
        if not rows:
            return
        with suppress(BatchRefused):  # unordered: those who were members stay as they are, all others are added
            await self._rows.bulk_write([InsertOne(row) for row in rows], ordered=False)

    async def remove(self, room_id: str, user_id: str) -> None:
        await self._rows.delete_one({"_id": _id(room_id, user_id)})

    async def members(
        self, room_ids: Sequence[str], after: tuple[str, str] | None, limit: int
    ) -> list[tuple[str, str]]:
        check_batch(room_ids)
        query: dict[str, Any] = {"room_id": {"$in": list(room_ids)}}
        if after is not None:
            room_id, user_id = after
            later = {"room_id": {"$in": [other for other in room_ids if other > room_id]}}
            query = {"$or": [{"room_id": room_id, "user_id": {"$gt": user_id}}, later]}
        rows = await self._rows.find(
            query,
            projection={"room_id": 1, "user_id": 1, "_id": 0},
            sort=[("room_id", 1), ("user_id", 1)],
            limit=page_limit(limit),
        )
        return [(row["room_id"], row["user_id"]) for row in rows]

    async def rooms_of(self, user_id: str, after_room_id: str | None, limit: int) -> list[str]:
        query: dict[str, Any] = {"user_id": user_id}
        if after_room_id is not None:
            query["room_id"] = {"$gt": after_room_id}
        rows = await self._rows.find(
            query, projection={"room_id": 1, "_id": 0}, sort=[("room_id", 1)], limit=page_limit(limit)
        )
        return [row["room_id"] for row in rows]

    async def mark_read(self, room_id: str, user_id: str, seq: int) -> None:
        """The mark never goes back; nothing happens for who is not a member."""
        await self._rows.update_one({"_id": _id(room_id, user_id)}, {"$max": {"read_seq": seq}})

    async def read_mark(self, room_id: str, user_id: str) -> int | None:
        """None when the person is not a member."""
        row = await self._rooms_row(room_id, user_id)
        return None if row is None else int(row["read_seq"])

    async def _rooms_row(self, room_id: str, user_id: str) -> dict[str, Any] | None:
        return await self._rows.find_one({"_id": _id(room_id, user_id)}, {"read_seq": 1})


def _id(room_id: str, user_id: str) -> str:
    return f"{room_id}/{user_id}"
