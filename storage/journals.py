"""The `journals` collection: how far each host's relay has come with what its messages owe, one document a host's life.

Used by relays alone. A host renews its own; when it no longer does, whichever relay looks first leases it and goes on
from its mark. A mark is kept for a day after its host renewed it last, so that what a host that was stopped for long
still writes is found too. It never reads what messages owe.
"""

from typing import Any, Final

from cluster.kernel.ids import new_id
from storage.client import Database
from storage.dates import to_date
from storage.records import JournalMark

_KEPT_MS: Final = 24 * 3_600_000


class MongoJournals:
    def __init__(self, database: Database) -> None:
        self._marks = database.collection("journals", direct=True)

    async def renew(self, journal: str, settled: int, now_ms: int, until_ms: int) -> None:
        mark = {
            "settled": settled,
            "renewed_ms": now_ms,
            "until_ms": until_ms,
            "lease": "",
            "expires_at": to_date(now_ms + _KEPT_MS),
        }
        await self._marks.update_one({"_id": journal}, {"$set": mark}, upsert=True)

    async def lease_lapsed(self, worker: str, now_ms: int, lease_ms: int) -> JournalMark | None:
        lapsed: dict[str, Any] = {"until_ms": {"$lte": now_ms}}
        found = await self._marks.find_one(lapsed, sort=[("until_ms", 1)])
        if found is None:
            return None
        lease = new_id()
        held = {"until_ms": now_ms + lease_ms, "worker": worker, "lease": lease}
        mine = {"_id": found["_id"], "until_ms": found["until_ms"], "lease": found["lease"]}
        if not await self._marks.update_one(mine, {"$set": held}):
            return None
        return JournalMark(found["_id"], found["settled"], found["renewed_ms"], lease)

    async def advance(self, mark: JournalMark, settled: int, until_ms: int) -> bool:
        moved = {"$set": {"settled": settled, "until_ms": until_ms}}
        return await self._marks.update_one({"_id": mark.journal, "lease": mark.lease}, moved) == 1
