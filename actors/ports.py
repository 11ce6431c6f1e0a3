"""What a host needs from outside, in one bundle, and the one port that storage.ports does not name: reading events."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec

from storage.ports import ChatLog, Memberships, Notifications, RsvpLedger, Users


class EventTerms(msgspec.Struct, frozen=True, kw_only=True):
    """The conditions of an event, as its organizer last set them. `visibility`: public, private or group-only."""

    event_id: str
    organizer_id: str
    visibility: str
    ends_at_ms: int
    capacity: int | None
    requirements: dict[str, Any]


class EventReader(Protocol):
    """Events as they are in storage now, never from a cache. Raises FlowError UNAVAILABLE."""

    async def terms(self, event_id: str) -> EventTerms | None: ...

    async def existing(self, event_ids: Sequence[str]) -> frozenset[str]:
        """Those that there are. At most a batch of storage."""

    async def wire(self, event_id: str) -> dict[str, Any] | None:
        """The event as clients see it."""

    async def is_invited(self, event_id: str, user_id: str) -> bool: ...


@dataclass(frozen=True, slots=True)
class HostPorts:
    chat_log: ChatLog
    memberships: Memberships
    rsvps: RsvpLedger
    notifications: Notifications
    users: Users
    events: EventReader
