"""The `outbox` collection: pushes owed to devices, until they are sent or buried.

Used by the relay, which adds rows, by push workers, which lease them, and by operators, who replay dead ones. A lease
is a due time in the future: a worker that dies lets its rows come due again. Sent rows stay a week, so that a cause
that comes again adds nothing; dead ones stay until they are replayed.
"""

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from cluster.kernel.ids import new_id
from storage.bounds import check_batch, page_limit
from storage.client import BatchRefused, Database
from storage.dates import to_date
from storage.records import OutboxRow

_KEPT_MS: Final = 7 * 24 * 3_600_000
_STATES: Final = ("pending", "leased", "sent", "dead")
_OPEN: Final = {"$in": ["pending", "leased"]}


class MongoOutbox:
    def __init__(self, database: Database) -> None:
        self._rows = database.collection("outbox")

    async def add(self, rows: Sequence[OutboxRow]) -> int:
        check_batch(rows)
        if not rows:
            return 0
        try:
            await self._rows.insert_many([_document(row) for row in rows], ordered=False)
        except BatchRefused as refused:
            return len(rows) - refused.refused
        return len(rows)

    async def lease(self, worker: str, now_ms: int, lease_ms: int, limit: int) -> list[OutboxRow]:
        """Those due longest first."""
        due = {"state": _OPEN, "due_ms": {"$lte": now_ms}}
        candidates = await self._rows.find(
            due, projection={"_id": 1}, sort=[("due_ms", 1), ("_id", 1)], limit=page_limit(limit)
        )
        if not candidates:
            return []
        ids = [candidate["_id"] for candidate in candidates]
        lease = new_id()
        held = {"state": "leased", "due_ms": now_ms + lease_ms, "worker": worker, "lease": lease}
        await self._rows.update_many({"_id": {"$in": ids}, **due}, {"$set": held})
        leased = await self._rows.find({"_id": {"$in": ids}, "lease": lease}, limit=limit)
        order = {row_id: index for index, row_id in enumerate(ids)}
        return [_row(row) for row in sorted(leased, key=lambda row: order[row["_id"]])]

    async def sent(self, row_ids: Sequence[str], now_ms: int) -> None:
        check_batch(row_ids)
        if row_ids:
            done = {"state": "sent", "expires_at": to_date(now_ms + _KEPT_MS)}
            await self._rows.update_many({"_id": {"$in": list(row_ids)}}, {"$set": done})

    async def retry(self, row_id: str, due_ms: int, error: str) -> None:
        """Nothing happens to a row that was sent or buried meanwhile."""
        later = {"state": "pending", "due_ms": due_ms, "last_error": error}
        await self._rows.update_one({"_id": row_id, "state": _OPEN}, {"$set": later, "$inc": {"attempts": 1}})

    async def bury(self, row_id: str, error: str, now_ms: int) -> None:
        dead = {"state": "dead", "last_error": error, "buried_at_ms": now_ms}
        await self._rows.update_one({"_id": row_id}, {"$set": dead, "$unset": {"expires_at": ""}})

    async def dead(self, after_id: str | None, limit: int) -> list[OutboxRow]:
        query: dict[str, Any] = {"state": "dead"}
        if after_id is not None:
            query["_id"] = {"$gt": after_id}
        rows = await self._rows.find(query, sort=[("_id", 1)], limit=page_limit(limit))
        return [_row(row) for row in rows]

    async def replay(self, row_ids: Sequence[str], now_ms: int) -> int:
        """Dead rows among these are due now, with their attempts forgotten. Returns how many there were."""
        check_batch(row_ids)
        if not row_ids:
            return 0
        fresh = {"state": "pending", "due_ms": now_ms, "attempts": 0}
        return await self._rows.update_many({"_id": {"$in": list(row_ids)}, "state": "dead"}, {"$set": fresh})

    async def statistics(self) -> dict[str, int]:
        return {state: await self._rows.count({"state": state}) for state in _STATES}


def _document(row: OutboxRow) -> dict[str, Any]:
    document = msgspec.structs.asdict(row)
    document["_id"] = document.pop("id")
    return document


def _row(row: dict[str, Any]) -> OutboxRow:
    row["id"] = row.pop("_id")
    return msgspec.convert(row, OutboxRow)
