"""The shapes of events in requests, strictly the document's own fields. What is made by the server cannot be sent.

Used by the events operations; the structs are also the published schemas. A rule that needs two fields is checked in
`__post_init__`, so every way in has it.
"""

from datetime import timedelta
from typing import Annotated, Final, Literal
from zoneinfo import available_timezones

from msgspec import UNSET, Meta, UnsetType

from realtime.http.fields import Coordinates, Description, Line, Link, Moment, Strict, Tag, Tags, Title

MAX_DURATION: Final = timedelta(days=366)
MAX_CAPACITY: Final = 100_000

Visibility = Literal["public", "private", "group-only"]
Timezone = Annotated[str, Meta(min_length=1, max_length=64, description="An IANA name such as Europe/Berlin.")]

_TIMEZONES: Final = available_timezones()
"""Read once, when the process starts. Empty on a machine without a zone database: then every name is taken."""


class EventTimes(Strict, frozen=True):
    """When it is. The end is not before the start and at most 366 days after it."""

    start: Moment
    end: Moment
    timezone: Timezone = "UTC"

    def __post_init__(self) -> None:
        if self.end < self.start:
            raise ValueError("end is before start")
        if self.end - self.start > MAX_DURATION:
            raise ValueError("end is more than 366 days after start")
        if _TIMEZONES and self.timezone not in _TIMEZONES:
            raise ValueError("timezone is not an IANA name")


class EventPlace(Strict, frozen=True):
    """A GeoJSON point with the words for it."""

    type: Literal["Point"]
    coordinates: Coordinates
    address: Line = ""
    venue: Line = ""


class Pricing(Strict, frozen=True):
    """`amount` in units of `currency` (ISO 4217); only what is free may leave them out."""

    type: Literal["free", "paid", "donation"] = "free"
    amount: Annotated[float, Meta(ge=0, le=1_000_000)] = 0
    currency: Annotated[str, Meta(pattern="^([A-Z]{3})?(?!\n)$")] = ""

    def __post_init__(self) -> None:
        if self.type == "paid" and not (self.amount > 0 and self.currency):
            raise ValueError("paid needs an amount above 0 and a currency")
        if self.type == "free" and self.amount > 0:
            raise ValueError("free has no amount")


class Capacity(Strict, frozen=True):
    """How many may go."""

    max: Annotated[int, Meta(ge=1, le=MAX_CAPACITY)]


class Requirements(Strict, frozen=True):
    """What a person needs to be allowed to go."""

    min_points: Annotated[int, Meta(ge=0, le=1_000_000)] = 0
    min_rating: Annotated[float, Meta(ge=0, le=5)] = 0
    invite_only: bool = False


class Media(Strict, frozen=True):
    images: Annotated[tuple[Link, ...], Meta(max_length=10)] = ()
    videos: Annotated[tuple[Link, ...], Meta(max_length=10)] = ()


class NewEvent(Strict, frozen=True):
    """POST /v1/events. The organiser is whoever asks."""

    title: Title
    datetime: EventTimes
    description: Description = ""
    category: Tag = "other"
    tags: Tags = ()
    location: EventPlace | None = None
    pricing: Pricing = Pricing()
    capacity: Capacity | None = None
    visibility: Visibility = "public"
    requirements: Requirements = Requirements()
    media: Media = Media()
    online: bool = False
    url: Link | None = None


class EventChanges(Strict, frozen=True):
    """PATCH /v1/events/{id}: what is given replaces what was there; `null` takes a place or a capacity away."""

    title: Title | UnsetType = UNSET
    datetime: EventTimes | UnsetType = UNSET
    description: Description | UnsetType = UNSET
    category: Tag | UnsetType = UNSET
    tags: Tags | UnsetType = UNSET
    location: EventPlace | UnsetType | None = UNSET
    pricing: Pricing | UnsetType = UNSET
    capacity: Capacity | UnsetType | None = UNSET
    visibility: Visibility | UnsetType = UNSET
    requirements: Requirements | UnsetType = UNSET
    media: Media | UnsetType = UNSET
    online: bool | UnsetType = UNSET
    url: Link | UnsetType | None = UNSET

    def given(self) -> tuple[str, ...]:
        """The names of the fields that were sent, as on the wire."""
        return tuple(field for field in self.__struct_fields__ if getattr(self, field) is not UNSET)
