"""The `invitations` collection: who was invited to which event. One row a person and event.

Used by the events collection's readers: an event may be for those who were invited. It never decides who may invite.
"""

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from storage.bounds import check_batch, page_limit
from storage.client import BatchRefused, Database


class MongoInvitations:
    def __init__(self, database: Database) -> None:
        self._rows = database.collection("invitations")

    async def invite(self, event_id: str, user_ids: Sequence[str], by_user_id: str, now_ms: int) -> None:
        """Idempotent."""
        check_batch(user_ids)
        rows: list[dict[str, Any]] = [
            {"_id": _id(event_id, user_id), "event_id": event_id, "user_id": user_id, "by": by_user_id, "at_ms": now_ms}
            for user_id in dict.fromkeys(user_ids)
        ]
        if rows:
            with suppress(BatchRefused):  # unordered: those invited before stay as they are, all others are added
                await self._rows.insert_many(rows, ordered=False)

    async def is_invited(self, event_id: str, user_id: str) -> bool:
        return await self._rows.find_one({"_id": _id(event_id, user_id)}, {"_id": 1}) is not None

    async def withdraw(self, event_id: str, user_id: str) -> None:
        await self._rows.delete_one({"_id": _id(event_id, user_id)})

    async def invited(self, event_id: str, after_user_id: str | None, limit: int) -> list[str]:
        query: dict[str, Any] = {"event_id": event_id}
        if after_user_id is not None:
            query["user_id"] = {"$gt": after_user_id}
        rows = await self._rows.find(query, sort=[("user_id", 1)], limit=page_limit(limit))
        return [row["user_id"] for row in rows]


def _id(event_id: str, user_id: str) -> str:
    return f"{event_id}/{user_id}"
