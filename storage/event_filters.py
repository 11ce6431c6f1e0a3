"""What lists of events may be narrowed by, and how that reads in a query. Used by the events collection."""

from dataclasses import dataclass
from typing import Any, Final

from storage.dates import to_date

LONGEST_EVENT_MS: Final = 366 * 24 * 3_600_000
"""No event is longer, so one that is not over started at most this long ago; queries need not look further back."""


_EARTH_RADIUS_METRES: Final = 6_378_100.0
"""The one that MongoDB's own distances are made with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EventFilters:
    """All that are given must hold. Times are milliseconds; `starts_before_ms` is exclusive.

    `not_over_at_ms` leaves out events whose end is past at that time. `within` is ((longitude, latitude), metres), for
    lists that are not by distance: those by text, which MongoDB cannot sort by distance as well. Only public events are
    listed unless `public_only` is false.
    """

    category: str | None = None
    tag: str | None = None
    starts_after_ms: int | None = None
    starts_before_ms: int | None = None
    not_over_at_ms: int | None = None
    organizer_id: str | None = None
    within: tuple[tuple[float, float], float] | None = None
    public_only: bool = True

    def query(self) -> dict[str, Any]:
        query: dict[str, Any] = {}
        if self.public_only:
            query["visibility"] = "public"
        if self.category is not None:
            query["category"] = self.category
        if self.tag is not None:
            query["tags"] = self.tag
        if self.organizer_id is not None:
            query["organizer.id"] = self.organizer_id
        if self.within is not None:
            centre, metres = self.within
            query["location"] = {"$geoWithin": {"$centerSphere": [list(centre), metres / _EARTH_RADIUS_METRES]}}
        starts = self._starts()
        if starts:
            query["datetime.start"] = starts
        if self.not_over_at_ms is not None:
            query["datetime.end"] = {"$gte": to_date(self.not_over_at_ms)}
        return query

    def _starts(self) -> dict[str, Any]:
        starts: dict[str, Any] = {}
        earliest = [] if self.starts_after_ms is None else [self.starts_after_ms]
        if self.not_over_at_ms is not None:
            earliest.append(self.not_over_at_ms - LONGEST_EVENT_MS)
        if earliest:
            starts["$gte"] = to_date(max(earliest))
        if self.starts_before_ms is not None:
            starts["$lt"] = to_date(self.starts_before_ms)
        return starts
