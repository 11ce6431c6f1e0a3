"""Events as they are answered: the document's public form, field by field, so that nothing else can slip out.

Used by the events and the recommendations operations. What imports left out of a document is filled with its default.
"""

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from realtime.http.fields import Answer, SentMoment
from storage.event_documents import to_wire


class Organizer(Answer, frozen=True):
    name: str = ""
    id: str | None = None
    type: str = "individual"


class ShownTimes(Answer, frozen=True):
    start: SentMoment
    end: SentMoment
    timezone: str = "UTC"


class ShownPlace(Answer, frozen=True):
    """A GeoJSON point with the words for it."""

    type: str
    coordinates: tuple[float, float]
    address: str | None = None
    venue: str | None = None


class ShownPricing(Answer, frozen=True):
    type: str = "free"
    amount: float | None = None
    currency: str | None = None


class ShownCapacity(Answer, frozen=True):
    """`max` is null when there is no limit."""

    max: int | None = None


class ShownRequirements(Answer, frozen=True):
    min_points: int = 0
    min_rating: float = 0
    invite_only: bool = False


class ShownMedia(Answer, frozen=True):
    images: tuple[str, ...] = ()
    videos: tuple[str, ...] = ()


class ShownSource(Answer, frozen=True):
    platform: str = ""
    external_id: str = ""
    last_sync: SentMoment | None = None


class EventDocument(Answer, frozen=True):
    """One event."""

    id: str
    title: str
    datetime: ShownTimes
    organizer: Organizer = Organizer()
    description: str = ""
    category: str = "other"
    tags: tuple[str, ...] = ()
    location: ShownPlace | None = None
    pricing: ShownPricing | None = None
    capacity: ShownCapacity = ShownCapacity()
    visibility: str = "public"
    requirements: ShownRequirements = ShownRequirements()
    media: ShownMedia = ShownMedia()
    online: bool = False
    url: str | None = None
    source: ShownSource | None = None
    created_at: SentMoment | UnsetType = UNSET
    updated_at: SentMoment | UnsetType = UNSET
    distance_metres: float | UnsetType = UNSET
    """How far it is from the point that was asked about; only in lists near a point."""


class EventList(Answer, frozen=True):
    items: tuple[EventDocument, ...]
    next: str | None


def event_document(stored: Mapping[str, Any]) -> EventDocument:
    """The public form of a stored event."""
    return msgspec.convert(to_wire(stored), EventDocument)
