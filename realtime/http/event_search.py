"""Lists of events: coming up, near a point, or found by words. A page goes on by key from where the last one ended.

Events that are over are left out unless a time to begin at is given. Only public events are listed, but for `mine`.
"""

from typing import Annotated, Final

import msgspec
from msgspec import Meta

from cluster.kernel.errors import INVALID_REQUEST, FlowError
from realtime.http.event_document import EventList, event_document
from realtime.http.fields import (
    DEFAULT_PAGE,
    Cursor,
    Moment,
    Nothing,
    PageLimit,
    Strict,
    Tag,
    milliseconds,
)
from realtime.http.operations import Call, Operation
from storage.event_filters import EventFilters

DEFAULT_RADIUS_KM: Final = 50.0
MAX_RADIUS_KM: Final = 500.0

Place = Annotated[
    str,
    Meta(
        max_length=64,
        pattern="^-?\\d{1,3}(\\.\\d{1,12})?,-?\\d{1,2}(\\.\\d{1,12})?(?!\n)$",
        description="longitude,latitude in degrees.",
    ),
]
Words = Annotated[str, Meta(min_length=1, max_length=256, pattern="\\S", description="Words to look for.")]


class EventQuery(Strict, frozen=True):
    """Everything that is given must hold."""

    near: Place | None = None
    radius_km: Annotated[float, Meta(gt=0, le=MAX_RADIUS_KM)] = DEFAULT_RADIUS_KM
    q: Words | None = None
    category: Tag | None = None
    tag: Tag | None = None
    from_: Moment | None = msgspec.field(name="from", default=None)
    to: Moment | None = None
    mine: bool = False
    limit: PageLimit = DEFAULT_PAGE
    cursor: Cursor | None = None


async def search(call: Call[Nothing, EventQuery]) -> EventList:
    """By distance with `near`, by how well it matches with `q` (then `near` only narrows it), else by start."""
    query, events = call.query, call.context.storage.events
    place = None if query.near is None else coordinates(query.near)
    metres = query.radius_km * 1_000
    within = None if place is None or query.q is None else (place, metres)
    filters = _filters(query, call.caller.user_id, call.context.clock.now_ms(), within)
    if query.q is not None:
        page = await events.search(query.q, query.limit, query.cursor, filters)
    elif place is not None:
        page = await events.near(place, metres, query.limit, query.cursor, filters)
    else:
        page = await events.upcoming(filters, query.limit, query.cursor)
    return EventList(items=tuple(map(event_document, page.items)), next=page.next)


def coordinates(text: str) -> tuple[float, float]:
    """`lng,lat` as numbers. Raises FlowError INVALID_REQUEST for a point that is not on the earth."""
    longitude, latitude = (float(part) for part in text.split(","))
    if not (-180 <= longitude <= 180 and -90 <= latitude <= 90):
        raise FlowError(INVALID_REQUEST, "near is longitude,latitude in degrees.", fields=("near",))
    return longitude, latitude


def _filters(
    query: EventQuery, user_id: str, now_ms: int, within: tuple[tuple[float, float], float] | None
) -> EventFilters:
    if query.from_ is not None and query.to is not None and query.to <= query.from_:
        raise FlowError(INVALID_REQUEST, "to must be after from.", fields=("to",))
    return EventFilters(
        category=None if query.category is None else query.category.strip(),
        tag=None if query.tag is None else query.tag.strip().lower(),
        starts_after_ms=None if query.from_ is None else milliseconds(query.from_),
        starts_before_ms=None if query.to is None else milliseconds(query.to),
        not_over_at_ms=now_ms if query.from_ is None else None,
        organizer_id=user_id if query.mine else None,
        within=within,
        public_only=not query.mine,
    )


OPERATION = Operation(
    method="GET",
    path="/v1/events",
    summary="Find events: coming up, near a point, by words, by category, tag and time.",
    tag="Events",
    handle=search,
    body=Nothing,
    query=EventQuery,
    reply=EventList,
)
