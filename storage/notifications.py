"""The `notifications` collection: what each person was told in the app, and whether they have read it.

Used by the hosts of user sessions. Ids are derived from causes, so a repeated cause is refused as a duplicate. Each is
kept for half a year; pages and counts go through indexes of one person.
"""

import asyncio
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from cluster.kernel.errors import INVALID_REQUEST, NOT_FOUND, FlowError
from cluster.kernel.ids import new_id
from storage.bounds import check_batch, page_limit
from storage.client import BatchRefused, Database
from storage.dates import to_date
from storage.records import AppendResult, Notification, SessionHead

_KEPT_MS: Final = 183 * 24 * 3_600_000


class MongoNotifications:
    def __init__(self, database: Database) -> None:
        self._notifications = database.collection("notifications", direct=True)
        self._users = database.collection("users", direct=True)

    async def claim(self, user_ids: Sequence[str]) -> dict[str, SessionHead]:
        check_batch(user_ids)
        if not user_ids:
            return {}
        claim, ids = _claim(), list(dict.fromkeys(user_ids))
        those = {"_id": {"$in": ids}}
        await self._users.update_many(those, claim)
        users, unread = await asyncio.gather(
            self._users.find(those, projection={"session": 1}, limit=len(ids)), self._unread_of(ids)
        )
        heads: dict[str, SessionHead] = {}
        for user in users:
            user_id, session = user["_id"], user["session"]
            if session["claim"] == claim["$set"]["session.claim"]:
                heads[user_id] = SessionHead(user_id=user_id, epoch=session["epoch"], unread=unread.get(user_id, 0))
            elif (alone := await self._claim_alone(user_id)) is not None:
                heads[user_id] = alone
        return heads

    async def _claim_alone(self, user_id: str) -> SessionHead | None:
        """Another host claimed it in the same moment. A claim that reads what it wrote cannot be overtaken."""
        user = await self._users.find_one_and_update({"_id": user_id}, _claim(), projection={"session": 1})
        if user is None:
            return None
        return SessionHead(user_id=user_id, epoch=user["session"]["epoch"], unread=await self.unread(user_id))

    async def _unread_of(self, user_ids: Sequence[str]) -> dict[str, int]:
        rows = await self._notifications.aggregate(
            [
                {"$match": {"user_id": {"$in": list(user_ids)}, "read": False}},
                {"$group": {"_id": "$user_id", "unread": {"$sum": 1}}},
            ],
            limit=len(user_ids),
        )
        return {row["_id"]: int(row["unread"]) for row in rows}

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


def _claim() -> dict[str, Any]:
    """An update that raises an epoch and says whose epoch it is from then on."""
    return {"$inc": {"session.epoch": 1}, "$set": {"session.claim": new_id()}}


def _document(notification: Notification) -> dict[str, Any]:
    document = msgspec.structs.asdict(notification)
    document["_id"] = document.pop("id")
    document["expires_at"] = to_date(notification.at_ms + _KEPT_MS)
    return document


def _notification(row: dict[str, Any]) -> Notification:
    row["id"] = row.pop("_id")
    row.pop("expires_at", None)
    return Notification(**row)
