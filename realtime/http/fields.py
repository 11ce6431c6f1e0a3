"""The annotated types that requests and answers are made of: one place for every length, form and range.

Used by the shapes of all resources; the published schemas carry the same limits. Patterns are written so that they mean
the same to Python and to ECMAScript: `(?!\\n)$` because Python's `$` also matches before a final newline.
"""

from datetime import datetime
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from storage.dates import to_date, to_iso

Id = Annotated[str, Meta(pattern="^[0-9a-f]{24}(?!\n)$", description="24 hexadecimal characters.")]
RoomId = Annotated[
    str,
    Meta(max_length=64, description="A room's id, `event:{eventId}` for an event's chat, `dm:{a}:{b}` for two people."),
]
Username = Annotated[
    str,
    Meta(pattern="^[A-Za-z0-9][A-Za-z0-9_.-]{2,31}(?!\n)$", description="3 to 32 of letters, digits, `_`, `.`, `-`."),
]
Password = Annotated[str, Meta(min_length=8, max_length=128)]
GivenPassword = Annotated[str, Meta(min_length=1, max_length=128, description="The password as it was registered.")]
GivenUsername = Annotated[str, Meta(min_length=1, max_length=64)]
Email = Annotated[str, Meta(max_length=254, pattern="^[^@\\s]{1,64}@[^@\\s]+\\.[^@\\s.]+(?!\n)$")]
PersonName = Annotated[str, Meta(min_length=1, max_length=80, pattern="\\S")]
Bio = Annotated[str, Meta(max_length=1000)]
Link = Annotated[str, Meta(max_length=2048, pattern="^https://\\S+(?!\n)$", description="An https address.")]
Avatar = Annotated[
    str, Meta(max_length=2048, pattern="^(https://\\S+)?(?!\n)$", description="An https address or empty.")
]
Tag = Annotated[str, Meta(min_length=1, max_length=40, pattern="\\S")]
Tags = Annotated[tuple[Tag, ...], Meta(max_length=30)]
Title = Annotated[str, Meta(min_length=1, max_length=200, pattern="\\S")]
Description = Annotated[str, Meta(max_length=10_000)]
Line = Annotated[str, Meta(max_length=300)]
RefreshToken = Annotated[str, Meta(min_length=1, max_length=512)]

Longitude = Annotated[float, Meta(ge=-180, le=180)]
Latitude = Annotated[float, Meta(ge=-90, le=90)]
Coordinates = Annotated[tuple[Longitude, Latitude], Meta(description="[longitude, latitude] in degrees.")]
Moment = Annotated[datetime, Meta(tz=True, description="ISO 8601 with an offset.")]
SentMoment = Annotated[str, Meta(description="ISO 8601 in UTC.", extra_json_schema={"format": "date-time"})]

PageLimit = Annotated[int, Meta(ge=1, le=100)]
Cursor = Annotated[str, Meta(min_length=1, max_length=512, description="`next` of the page before.")]

DEFAULT_PAGE: Final = 20


class Strict(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """The base of every request's shape: camelCase on the wire, unknown fields refused."""


class Answer(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The base of every answer's shape."""


class Nothing(Strict, frozen=True):
    """A body or query without fields; as an answer, 204 without a body."""


class Point(Strict, frozen=True):
    """A GeoJSON point."""

    type: Literal["Point"]
    coordinates: Coordinates


def moment(ms: int) -> str:
    """Milliseconds since the epoch as the wire writes them."""
    return to_iso(to_date(ms))


def milliseconds(at: datetime) -> int:
    return round(at.timestamp() * 1000)


def tidy_tags(tags: tuple[str, ...]) -> tuple[str, ...]:
    """Tags as they are kept and matched: trimmed, lower case, each once."""
    return tuple(dict.fromkeys(tag.strip().lower() for tag in tags))
