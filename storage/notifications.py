"""The `notifications` collection: what each person was told in the app, and whether they have read it.

Used by the hosts of user sessions. Ids are derived from causes, so a repeated cause is refused as a duplicate. Each is
kept for half a year; pages and counts go through indexes of one person.
"""

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from cluster.kernel.errors import INVALID_REQUEST, NOT_FOUND, FlowError
from storage.bounds import check_batch, page_limit
from storage.client import BatchRefused, Database
from storage.dates import to_date
from storage.records import AppendResult, Notification

_KEPT_MS: Final = 183 * 24 * 3_600_000


class MongoNotifications:
    def __init__(self, database: Database) -> None:
        self._notifications = database.collection("notifications", direct=True)

    async def unread_of(self, user_ids: Sequence[str]) -> dict[str, int]:
        check_batch(user_ids)
        if not user_ids:
            return {}
        ids = list(dict.fromkeys(user_ids))
        unread: Sequence[dict[str, Any]] = (
            {"$match": {"user_id": {"$in": ids}, "read": False}},
            {"$group": {"_id": "$user_id", "unread": {"$sum": 1}}},
        )
        there = [{"$match": {"_id": {"$in": ids}}}, {"$project": {"_id": 1}}]
        rows = await self._notifications.aggregate(
            [*unread, {"$unionWith": {"coll": "users", "pipeline": there}}], limit=2 * len(ids)
        )
        counts = {row["_id"]: int(row["unread"]) for row in rows if "unread" in row}
        return {row["_id"]: counts.get(row["_id"], 0) for row in rows if "unread" not in row}

    async def append(self, notifications: Sequence[Notification]) -> AppendResult:
        check_batch(notifications)
        if not notifications:
            return AppendResult(0)
        try:
            await self._notifications.insert_many([_document(notification) for notification in notifications])
        except BatchRefused as refused:
            return AppendResult(refused.index, "duplicate")
        return AppendResult(len(notifications))

    async def page(self, user_id: str, before_id: str | None, limit: int) -> list[Notification]:
        """Raises FlowError INVALID_REQUEST when `before_id` is not one of this person's."""
        page_limit(limit)
        clauses: list[dict[str, Any]] = [{"user_id": user_id}]
        if before_id is not None:
            before = await self._notifications.find_one({"_id": before_id, "user_id": user_id}, {"at_ms": 1})
            if before is None:
                raise FlowError(INVALID_REQUEST, "There is no such notification to read before.", fields=("before",))
            at_ms = before["at_ms"]
            older = [{"at_ms": {"$lt": at_ms}}, {"at_ms": at_ms, "_id": {"$lt": before_id}}]
            clauses.append({"at_ms": {"$lte": at_ms}, "$or": older})
        rows = await self._notifications.find({"$and": clauses}, sort=[("at_ms", -1), ("_id", -1)], limit=limit)
        return [_notification(row) for row in rows]

    async def mark_read(self, user_id: str, notification_id: str) -> bool:
        before = await self._notifications.find_one_and_update(
            {"_id": notification_id, "user_id": user_id},
            {"$set": {"read": True}},
            projection={"read": 1},
            before=True,
        )
        if before is None:
            raise FlowError(NOT_FOUND, "There is no such notification.")
        return not before["read"]

    async def unread(self, user_id: str) -> int:
        return await self._notifications.count({"user_id": user_id, "read": False})


def _document(notification: Notification) -> dict[str, Any]:
    document = msgspec.structs.asdict(notification)
    document["_id"] = document.pop("id")
    document["expires_at"] = to_date(notification.at_ms + _KEPT_MS)
    return document


def _notification(row: dict[str, Any]) -> Notification:
    row["id"] = row.pop("_id")
    row.pop("expires_at", None)
    return Notification(**row)
