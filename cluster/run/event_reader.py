"""Events as a host reads them: the bridge from storage's event documents to the actors' `EventReader` port.

Made by the wiring for each host. It reads what a majority has and never a cache; it decides nothing.
"""

from collections.abc import Sequence
from typing import Any

from actors.outbox.port import EventTitle
from actors.ports import EventTerms
from storage.dates import to_ms
from storage.event_documents import to_wire
from storage.events import MongoEvents


class StoredEvents:
    """`actors.ports.EventReader` and `actors.outbox.port.EventTitles` over the events collection."""

    def __init__(self, events: MongoEvents) -> None:
        self._events = events

    async def terms(self, event_id: str) -> EventTerms | None:
        document = await self._events.by_id(event_id)
        if document is None:
            return None
        return EventTerms(
            event_id=event_id,
            organizer_id=_organizer(document),
            visibility=document["visibility"],
            ends_at_ms=to_ms(document["datetime"]["end"]),
            capacity=(document.get("capacity") or {}).get("max"),
            requirements=document.get("requirements") or {},
        )

    async def existing(self, event_ids: Sequence[str]) -> frozenset[str]:
        return await self._events.existing(event_ids)

    async def wire(self, event_id: str) -> dict[str, Any] | None:
        document = await self._events.by_id(event_id)
        return None if document is None else to_wire(document)

    async def is_invited(self, event_id: str, user_id: str) -> bool:
        return await self._events.is_invited(event_id, user_id)

    async def title(self, event_id: str) -> EventTitle | None:
        document = await self._events.by_id(event_id)
        return None if document is None else EventTitle(document["title"], _organizer(document))


def _organizer(document: dict[str, Any]) -> str:
    return (document.get("organizer") or {}).get("id") or ""
