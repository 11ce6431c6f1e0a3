"""The `analytics_events` collection: what people did, one row an act, kept for 90 days.

Written by the outbox relay from what messages and answers owe, so it holds every one of them at least as surely as the
pushes do; the id follows from the cause, so a cause that comes twice makes one row. The action of an answer is the one
that training takes it for (`ACTION_OF_STATUS`). It never decides what is worth a row.
"""

from collections.abc import Sequence
from typing import Final

import msgspec

from storage.bounds import check_batch
from storage.client import BatchRefused, Database
from storage.dates import to_date
from storage.records import AnalyticsEvent

KEPT_MS: Final = 90 * 24 * 3_600_000

ACTION_OF_STATUS: Final = {
    "going": "attend",
    "waiting": "attend",
    "interested": "interested",
    "declined": "decline",
}
"""What an answer to an event says of the person: for analytics and for training alike."""


class MongoAnalytics:
    def __init__(self, database: Database) -> None:
        self._events = database.collection("analytics_events", direct=True)

    async def record(self, events: Sequence[AnalyticsEvent]) -> int:
        check_batch(events)
        if not events:
            return 0
        rows = [_document(event) for event in events]
        try:
            await self._events.insert_many(rows, ordered=False)
        except BatchRefused as refused:
            return len(rows) - refused.refused
        return len(rows)


def _document(event: AnalyticsEvent) -> dict[str, object]:
    document = msgspec.structs.asdict(event)
    document["_id"] = document.pop("id")
    if event.kind == "rsvp":
        document["action"] = ACTION_OF_STATUS[event.action]
    document["expires_at"] = to_date(event.at_ms + KEPT_MS)
    return document
