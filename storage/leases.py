"""Leases on documents that owe follow-up work. Used by the chat log and the RSVP ledger; one file so both agree.

A document that owes work carries `owed`, written together with what caused the work: `{until_ms, worker, lease, …}`, or
`{journal, number}` for as long as a message's journal answers for it. A lease is taken document by document, so two
workers never hold the same one before it runs out. It never does the work itself.
"""

from collections.abc import Sequence
from typing import Any, Final

from cluster.kernel.ids import new_id
from storage.bounds import check_batch, page_limit
from storage.client import Collection
from storage.records import DeadCause

OWED: Final[dict[str, Any]] = {"until_ms": 0, "worker": "", "lease": ""}
"""What a new document that owes work carries: a lease that ran out long ago."""
MOST_FAILURES: Final = 8


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


async def put_off_owed(collection: Collection, ids: Sequence[str], until_ms: int) -> None:
    """These wait until then, each by itself: if they stood in a journal they do no more."""
    check_batch(ids)
    if ids:
        owing = {"_id": {"$in": list(ids)}, "owed": {"$exists": True}, "owed.dead": {"$exists": False}}
        await collection.update_many(owing, {"$set": {"owed.until_ms": until_ms}, "$unset": {"owed.number": ""}})


async def fail_owed(collection: Collection, ids: Sequence[str], error: str) -> None:
    """Working these out failed in a way that trying again does not mend. After `MOST_FAILURES` they are dead letters:
    leased no more, until an operator replays them."""
    check_batch(ids)
    if not ids:
        return
    owing: dict[str, Any] = {"_id": {"$in": list(ids)}, "owed.until_ms": {"$exists": True}}
    await collection.update_many(owing, {"$inc": {"owed.failures": 1}, "$set": {"owed.error": error}})
    spent = {**owing, "owed.failures": {"$gte": MOST_FAILURES}}
    await collection.update_many(spent, {"$set": {"owed.dead": True}, "$unset": {"owed.until_ms": ""}})


async def dead_owed(collection: Collection, after_id: str | None, limit: int) -> list[DeadCause]:
    """In the order of their ids, from after the given one."""
    query: dict[str, Any] = {"owed.dead": True}
    if after_id is not None:
        query["_id"] = {"$gt": after_id}
    rows = await collection.find(query, projection={"owed": 1}, sort=[("_id", 1)], limit=page_limit(limit))
    return [
        DeadCause(id=row["_id"], failures=int(row["owed"]["failures"]), last_error=row["owed"]["error"]) for row in rows
    ]


async def replay_owed(collection: Collection, ids: Sequence[str]) -> int:
    """Dead ones among these owe again, with their failures forgotten. Returns how many there were."""
    check_batch(ids)
    if not ids:
        return 0
    dead = {"_id": {"$in": list(ids)}, "owed.dead": True}
    again = {"$set": {"owed.until_ms": 0, "owed.failures": 0}, "$unset": {"owed.dead": ""}}
    return await collection.update_many(dead, again)
