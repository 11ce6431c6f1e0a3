"""The `blocks` collection: who wants nothing to do with whom; one row a direction, idempotent.

Used by the HTTP interface, by people to meet and by recommendations. A block hides either from the other, whoever made
it. It never decides what else is hidden.
"""

from collections.abc import Sequence
from contextlib import suppress
from typing import Final

from storage.bounds import page_limit
from storage.client import Database, Duplicate

MOST_BLOCKS: Final = 500
"""The most of one person's blocks that are read at once."""


class MongoBlocks:
    def __init__(self, database: Database) -> None:
        self._rows = database.collection("blocks")

    async def block(self, user_id: str, blocked_id: str, now_ms: int) -> None:
        row = {"user_id": user_id, "blocked_id": blocked_id, "at_ms": now_ms}
        with suppress(Duplicate):  # twice in the same moment
            await self._rows.update_one({"_id": f"{user_id}/{blocked_id}"}, {"$setOnInsert": row}, upsert=True)

    async def unblock(self, user_id: str, blocked_id: str) -> None:
        await self._rows.delete_one({"_id": f"{user_id}/{blocked_id}"})

    async def blocked_by(self, user_id: str, after_id: str | None, limit: int) -> list[str]:
        """Whom this person blocked, in the order of their ids."""
        query: dict[str, object] = {"user_id": user_id}
        if after_id is not None:
            query["blocked_id"] = {"$gt": after_id}
        rows = await self._rows.find(
            query, projection={"blocked_id": 1, "_id": 0}, sort=[("blocked_id", 1)], limit=page_limit(limit)
        )
        return [row["blocked_id"] for row in rows]

    async def between(self, user_id: str, other_ids: Sequence[str]) -> set[str]:
        """Those of `other_ids` that block this person or are blocked by this person."""
        if not other_ids:
            return set()
        others = list(other_ids)
        either = {
            "$or": [
                {"user_id": user_id, "blocked_id": {"$in": others}},
                {"blocked_id": user_id, "user_id": {"$in": others}},
            ]
        }
        rows = await self._rows.find(either, projection={"_id": 0}, limit=2 * len(others))
        return {row["blocked_id"] if row["user_id"] == user_id else row["user_id"] for row in rows}

    async def both_ways(self, user_id: str) -> list[str]:
        """Everybody whom a block keeps from this person, up to the bound."""
        rows = await self._rows.find(
            {"$or": [{"user_id": user_id}, {"blocked_id": user_id}]},
            projection={"user_id": 1, "blocked_id": 1, "_id": 0},
            limit=MOST_BLOCKS,
        )
        return [row["blocked_id"] if row["user_id"] == user_id else row["user_id"] for row in rows]
