"""The live events as columns: what every stage reads, and how a new event joins within a second.

Built by the engine in one thread and read by answers in another. A `Columns` never changes for its readers: rows are
only ever appended, into room that older snapshots do not look at, and what may change of an old row (whether it is
open, how many go) is copied. A changed event gets a new row and its old one is closed; a full reading of the catalogue
builds anew and leaves the closed rows behind.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from serve_apps.contracts import CatalogueEvent, Signals
from serve_apps.features import Buckets, Features, event_features

Rows = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]
Flags = npt.NDArray[np.bool_]
Millis = npt.NDArray[np.int64]
Postings = dict[int, npt.NDArray[np.int32]]

CELL_DEGREES: Final = 0.25
"""The side of a cell of the grid: 28 km from south to north."""
CELLS_AROUND: Final = int(360 / CELL_DEGREES)
_SPARE: Final = 1.25
MOST_NEWEST: Final = 2_000
"""So many of the events published last are looked at for something new."""
NO_ROWS: Final = np.zeros(0, np.int64)


@dataclass(frozen=True, slots=True)
class Columns:
    """Row i of every column is `events[i]`. Unknown places are NaN; `capacity` is -1 where there is no limit. `newest`
    are the rows published last, newest first, closed ones among them; `newest_topics` are theirs. Only the first
    `topics_used` of `topics` are used by anybody."""

    events: tuple[CatalogueEvent, ...]
    row_of: dict[str, int]
    longitude: Floats
    latitude: Floats
    start_ms: Millis
    end_ms: Millis
    published_ms: Millis
    price: Floats
    capacity: npt.NDArray[np.int32]
    organizer: npt.NDArray[np.int32]
    topics: Buckets
    topics_used: int
    is_open: Flags
    going: npt.NDArray[np.int32]
    trend: Floats
    trending: Rows
    newest: Rows
    newest_topics: Buckets
    by_topic: Postings
    by_cell: dict[tuple[int, int], npt.NDArray[np.int32]]
    organizers: dict[str, int]

    def __len__(self) -> int:
        return len(self.events)

    def rows(self, event_ids: Iterable[str]) -> Rows:
        """The rows of those that are there."""
        found = (self.row_of.get(event_id) for event_id in event_ids)
        return np.fromiter((row for row in found if row is not None), np.int64)

    def topics_of(self, rows: Rows) -> Buckets:
        """Of each row those that anybody uses: what is not there need not be looked at."""
        return self.topics[rows, : self.topics_used]

    def open_at(self, now_ms: int) -> Flags:
        """Which may be recommended at all: public, not over, not full."""
        is_full = (self.capacity >= 0) & (self.going >= self.capacity)
        return self.is_open & (self.end_ms > now_ms) & ~is_full


def build(events: Sequence[CatalogueEvent], features: Features | None = None) -> Columns:
    """`features` saves computing them again."""
    return _appended(_nothing(), events, event_features(events) if features is None else features)


def changed(columns: Columns, events: Sequence[CatalogueEvent], features: Features) -> Columns:
    """With new rows for `events`; the rows that they had are closed, and who goes there goes there still."""
    is_open = columns.is_open.copy()
    is_open[columns.rows(event.event_id for event in events)] = False
    after = _appended(replace(columns, is_open=is_open), events, features)
    for row, event in enumerate(events, len(columns)):
        before = columns.row_of.get(event.event_id)
        if before is not None:
            after.going[row], after.trend[row] = columns.going[before], columns.trend[before]
    return after


def with_signals(columns: Columns, signals: Signals) -> Columns:
    going = np.zeros(len(columns), np.int32)
    known = [
        (row, count) for event_id, count in signals.going.items() if (row := columns.row_of.get(event_id)) is not None
    ]
    if known:
        rows, counts = zip(*known, strict=True)
        going[list(rows)] = counts
    trend = np.zeros(len(columns), np.float32)
    trending = columns.rows(event.event_id for event in signals.trending)
    scores = [event.score for event in signals.trending if event.event_id in columns.row_of]
    if scores:
        trend[trending] = np.array(scores, np.float32) / max(*scores, 1e-9)
    return replace(columns, going=going, trend=trend, trending=trending)


def cell_of(longitude: float, latitude: float) -> tuple[int, int]:
    return wrapped(math.floor(longitude / CELL_DEGREES)), math.floor(latitude / CELL_DEGREES)


def wrapped(column: int) -> int:
    """The column of cells, where the one west of the first is the last: the earth is round."""
    return (column + CELLS_AROUND // 2) % CELLS_AROUND - CELLS_AROUND // 2


def _nothing() -> Columns:
    return Columns(
        events=(),
        row_of={},
        longitude=np.zeros(0, np.float32),
        latitude=np.zeros(0, np.float32),
        start_ms=np.zeros(0, np.int64),
        end_ms=np.zeros(0, np.int64),
        published_ms=np.zeros(0, np.int64),
        price=np.zeros(0, np.float32),
        capacity=np.zeros(0, np.int32),
        organizer=np.zeros(0, np.int32),
        topics=np.zeros((0, event_features([]).topics.shape[1]), np.int32),
        topics_used=1,
        is_open=np.zeros(0, bool),
        going=np.zeros(0, np.int32),
        trend=np.zeros(0, np.float32),
        trending=NO_ROWS,
        newest=NO_ROWS,
        newest_topics=np.zeros((0, 1), np.int32),
        by_topic={},
        by_cell={},
        organizers={},
    )


def _appended(columns: Columns, events: Sequence[CatalogueEvent], features: Features) -> Columns:
    first = len(columns)
    count = len(events)
    organizers = dict(columns.organizers)
    places = [event.coordinates or (math.nan, math.nan) for event in events]
    capacities = [-1 if event.capacity is None else min(event.capacity, 2**31 - 1) for event in events]
    owners = [
        organizers.setdefault(event.organizer_id, len(organizers)) if event.organizer_id else -1 for event in events
    ]
    row_of = dict(columns.row_of)
    row_of.update((event.event_id, first + offset) for offset, event in enumerate(events))
    published_ms = grown(columns.published_ms, [event.published_ms for event in events])
    newest = _newest(np.concatenate((columns.newest, np.arange(first, first + count))), published_ms)
    topics = grown(columns.topics, features.topics)
    topics_used = max(columns.topics_used, int((features.topics > 0).sum(axis=1).max(initial=0)))
    return Columns(
        events=(*columns.events, *events),
        row_of=row_of,
        longitude=grown(columns.longitude, [place[0] for place in places]),
        latitude=grown(columns.latitude, [place[1] for place in places]),
        start_ms=grown(columns.start_ms, [event.start_ms for event in events]),
        end_ms=grown(columns.end_ms, [event.end_ms for event in events]),
        published_ms=published_ms,
        price=grown(columns.price, [event.price for event in events]),
        capacity=grown(columns.capacity, capacities),
        organizer=grown(columns.organizer, owners),
        topics=topics,
        topics_used=topics_used,
        is_open=np.concatenate((columns.is_open, np.fromiter((event.is_public for event in events), bool, count))),
        going=np.concatenate((columns.going, np.zeros(count, np.int32))),
        trend=np.concatenate((columns.trend, np.zeros(count, np.float32))),
        trending=columns.trending,
        newest=newest,
        newest_topics=topics[newest, :topics_used],
        by_topic=_posted(columns.by_topic, features.topics, first),
        by_cell=_placed(columns.by_cell, places, first),
        organizers=organizers,
    )


def grown(before: npt.NDArray[Any], more: Any) -> npt.NDArray[Any]:
    """`before` with more rows, in the same memory while there is room behind it that nobody reads.

    Only the newest snapshot may be grown: two growths of one array would write over each other.
    """
    added = np.asarray(more, before.dtype).reshape((len(more), *before.shape[1:]))
    size = len(before) + len(added)
    home = before.base if isinstance(before.base, np.ndarray) and before.base.ndim == before.ndim else before
    if len(home) < size or home.shape[1:] != before.shape[1:] or not home.flags.c_contiguous:
        home = np.zeros((max(16, int(size * _SPARE)), *before.shape[1:]), before.dtype)
        home[: len(before)] = before
    home[len(before) : size] = added
    return home[:size]


def _newest(rows: Rows, published_ms: Millis) -> Rows:
    if rows.size > MOST_NEWEST:
        rows = rows[np.argpartition(published_ms[rows], rows.size - MOST_NEWEST)[rows.size - MOST_NEWEST :]]
    return rows[np.lexsort((rows, -published_ms[rows]))]


def _posted(postings: Postings, topics: Buckets, first: int) -> Postings:
    """For each topic the rows that have it, ascending."""
    offsets, places = np.nonzero(topics)
    buckets = topics[offsets, places]
    order = np.argsort(buckets, kind="stable")
    names, starts = np.unique(buckets[order], return_index=True)
    grownup = dict(postings)
    for name, rows in zip(
        names.tolist(), np.split((offsets[order] + first).astype(np.int32), starts[1:]), strict=False
    ):
        known = grownup.get(name)
        grownup[name] = rows if known is None else np.concatenate((known, rows))
    return grownup


def _placed(
    cells: dict[tuple[int, int], npt.NDArray[np.int32]], places: Sequence[tuple[float, float]], first: int
) -> dict[tuple[int, int], npt.NDArray[np.int32]]:
    found: dict[tuple[int, int], list[int]] = {}
    for offset, place in enumerate(places):
        if not math.isnan(place[0]):
            found.setdefault(cell_of(*place), []).append(first + offset)
    grownup = dict(cells)
    for cell, rows in found.items():
        known = grownup.get(cell)
        added = np.array(rows, np.int32)
        grownup[cell] = added if known is None else np.concatenate((known, added))
    return grownup
