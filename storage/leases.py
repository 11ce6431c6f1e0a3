"""Leases on documents that owe follow-up work. Used by the chat log and the RSVP ledger; one file so both agree.

A document that owes work carries `owed: {until_ms, worker, lease, …}`; it was written together with what caused the
work. A lease is taken document by document, so two workers never hold the same one before it runs out. It never does
the work itself.
"""

from typing import Any, Final

from cluster.kernel.ids import new_id
from storage.bounds import page_limit
from storage.client import Collection

OWED: Final[dict[str, Any]] = {"until_ms": 0, "worker": "", "lease": ""}
"""What a new document that owes work carries: a lease that ran out long ago."""


async def lease_owed(
    collection: Collection, worker: str, now_ms: int, lease_ms: int, limit: int
) -> list[dict[str, Any]]:
    """Documents whose work nobody holds, oldest lease first, now held by `worker` until `now_ms + lease_ms`."""
    free = {"owed.until_ms": {"$lte": now_ms}}
    candidates = await collection.find(
        free, projection={"_id": 1}, sort=[("owed.until_ms", 1)], limit=page_limit(limit)
    )
    if not candidates:
        return []
    ids = [candidate["_id"] for candidate in candidates]
    lease = new_id()
    held = {"owed.until_ms": now_ms + lease_ms, "owed.worker": worker, "owed.lease": lease}
    await collection.update_many({"_id": {"$in": ids}, **free}, {"$set": held})
    return await collection.find({"_id": {"$in": ids}, "owed.lease": lease}, limit=limit)
