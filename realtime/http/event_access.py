"""Who may read an event over HTTP: the very rule of the event's room, with its facts read from storage.

Used by the events, attendance, interactions and recommendations operations.
"""

from collections.abc import Mapping
from typing import Any

from actors.facts import Fact, Invited, OwnRsvp
from actors.visibility import facts_to_see, may_see
from cluster.kernel.errors import EVENT_NOT_FOUND, FORBIDDEN, FlowError
from storage.open import Storage

Stored = Mapping[str, Any]


def organizer_of(event: Stored) -> str:
    """The organizer's user id; empty for an imported event, which belongs to nobody here."""
    organizer = event.get("organizer") or {}
    return organizer.get("id") or ""


async def is_visible(storage: Storage, event: Stored, user_id: str) -> bool:
    visibility, organizer, event_id = event["visibility"], organizer_of(event), event["_id"]
    facts: dict[Fact, Any] = {}
    for fact in facts_to_see(visibility, organizer, event_id, user_id, facts):
        if isinstance(fact, OwnRsvp):
            facts[fact] = await storage.rsvps.rsvp(event_id, user_id)
        elif isinstance(fact, Invited):
            facts[fact] = await storage.events.is_invited(event_id, user_id)
        else:
            raise TypeError(f"no way to learn {fact}")
    return may_see(visibility, organizer, event_id, user_id, facts)


async def visible_event(storage: Storage, event_id: str, user_id: str) -> Stored:
    """The stored event. Raises FlowError EVENT_NOT_FOUND, or FORBIDDEN when this person may not see it."""
    event = await storage.events.by_id(event_id)
    if event is None:
        raise FlowError(EVENT_NOT_FOUND)
    if not await is_visible(storage, event, user_id):
        raise FlowError(FORBIDDEN)
    return event
