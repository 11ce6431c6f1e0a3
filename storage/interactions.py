"""The `interactions` collection: what people did with events, which is what recommendations learn from.

Used by importers, by the HTTP interface's feedback and by training. One row a (person, event, action, time), so the
same file again, or the same request again, changes nothing.
"""

from collections.abc import Sequence
from typing import Any

from serve_apps.contracts import InteractionRow
from storage.bounds import check_batch
from storage.client import BatchRefused, Database


class MongoInteractions:
    def __init__(self, database: Database) -> None:
        self._rows = database.collection("interactions")

    async def import_rows(self, rows: Sequence[InteractionRow]) -> int:
        """Store those that are new, durably; returns how many were. The others were there before, or come twice."""
        check_batch(rows)
        if not rows:
            return 0
        try:
            await self._rows.insert_many([_document(row) for row in rows], ordered=False)
        except BatchRefused as refused:
            return len(rows) - refused.refused
        return len(rows)

    async def record(self, row: InteractionRow) -> bool:
        """False when it was there before."""
        return await self.import_rows([row]) == 1


def _document(row: InteractionRow) -> dict[str, Any]:
    return {
        "user_id": row.user_id,
        "event_id": row.event_id,
        "action": row.action,
        "weight": row.weight,
        "at_ms": row.at_ms,
    }
