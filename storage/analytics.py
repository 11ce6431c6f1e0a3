"""What people did. The view `acts` has all of it in one form, one row an act: answers to events out of the collection
`analytics_events`, messages out of themselves.

A message is its own record: nothing is written a second time for it. Answers are replaced in place, so the outbox relay
writes a row for each, which is kept for 90 days; the id follows from the cause, so a cause that comes twice makes one
row. The action of an answer is the one that training takes it for (`ACTION_OF_STATUS`). It never decides what is worth
a row.
"""

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from storage.bounds import check_batch
from storage.client import BatchRefused, Database
from storage.dates import to_date
from storage.records import AnalyticsEvent
from storage.seals import IS_MESSAGE

KEPT_MS: Final = 90 * 24 * 3_600_000

ACTION_OF_STATUS: Final = {
    "going": "attend",
    "waiting": "attend",
    "interested": "interested",
    "declined": "decline",
}
"""What an answer to an event says of the person: for analytics and for training alike."""


_FIELDS: Final = ("kind", "user_id", "subject", "action", "at_ms")
_OF_MESSAGES: Final[list[dict[str, Any]]] = [
    {"$match": IS_MESSAGE},
    {
        "$project": {
            "_id": {"$concat": ["message:", "$_id"]},
            "kind": {"$literal": "message"},
            "user_id": 1,
            "subject": "$room_id",
            "action": {"$literal": "message"},
            "at_ms": 1,
        }
    },
]


async def ensure_acts(database: Database) -> None:
    """The view exists as declared here. Raises FlowError UNAVAILABLE."""
    # Earlier builds wrote rows for messages too.
    answers: list[dict[str, Any]] = [{"$match": {"kind": {"$ne": "message"}}}, {"$project": dict.fromkeys(_FIELDS, 1)}]
    messages = {"$unionWith": {"coll": "messages", "pipeline": _OF_MESSAGES}}
    await database.ensure_view("acts", "analytics_events", [*answers, messages])


class MongoAnalytics:
    def __init__(self, database: Database) -> None:
        self._events = database.collection("analytics_events")

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
    document["action"] = ACTION_OF_STATUS[event.action]
    document["expires_at"] = to_date(event.at_ms + KEPT_MS)
    return document
