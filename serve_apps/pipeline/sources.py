"""Where candidates come from: six sources, each with a quota, each of them optional.

Used by the pipeline. A source looks at one person at a time, at columns that do not change under it, and at queries of
the whole batch that were multiplied with all vectors at once. It proposes open events only, at most its quota, best
first, and nothing where it has nothing to say. It never raises for odd data.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from serve_apps.contracts import ModelPerson, RecommendationRequest, Retrieved
from serve_apps.features import people_features
from serve_apps.geography import distances_km
from serve_apps.pipeline.columns import NO_ROWS, Columns, Flags, Floats, cell_of
from serve_apps.retrieval import best_rows

NOTHING: Final = Retrieved(NO_ROWS, np.zeros(0, np.float32))
NEWEST_PER_TOPIC: Final = 4_000
_RINGS: Final = 4
_ENOUGH: Final = 3
"""A ring of cells more is looked at until there are so many times the quota."""


@dataclass(frozen=True, slots=True)
class Looking:
    """One person's look at the events. `tower` and `alike` are scores of every row: by the two towers, and by likeness
    to what the person liked; None without a model or a history. `allowed` are open and not excluded."""

    request: RecommendationRequest
    columns: Columns
    allowed: Flags
    tower: Floats | None
    alike: Floats | None
    now_ms: int


def two_tower(look: Looking, limit: int) -> Retrieved:
    return NOTHING if look.tower is None else _best(look.tower, look.allowed, limit)


def collaborative(look: Looking, limit: int) -> Retrieved:
    """What is like the events that the person liked, in the space in which the crowd's behaviour put them."""
    return NOTHING if look.alike is None else _best(look.alike, look.allowed, limit)


def content(look: Looking, limit: int) -> Retrieved:
    """What shares topics with the person's interests, rarer topics counting for more."""
    topics = people_features([_as_person(look.request)]).topics[0]
    postings = [look.columns.by_topic.get(int(topic)) for topic in topics if topic]
    found = [rows[-NEWEST_PER_TOPIC:] for rows in postings if rows is not None]
    if not found:
        return NOTHING
    total = max(1, len(look.columns))
    scores = np.zeros(len(look.columns), np.float32)
    for rows in found:
        scores[rows] += math.log1p(total / rows.size)
    return _best(np.where(scores > 0.0, scores, np.float32(-np.inf)), look.allowed, limit)


def geographic(look: Looking, limit: int) -> Retrieved:
    """What is nearest, in rings of cells around the person."""
    place = look.request.coordinates
    if place is None:
        return NOTHING
    near = cell_of(*place)
    found: list[npt.NDArray[np.int32]] = []
    size = 0
    for ring in range(_RINGS):
        for cell in _ring(near, ring):
            there = look.columns.by_cell.get(cell)
            if there is not None:
                found.append(there)
                size += there.size
        if size >= _ENOUGH * limit:
            break
    if not found:
        return NOTHING
    rows: npt.NDArray[np.int64] = np.concatenate(found).astype(np.int64)
    distances = distances_km(place, look.columns.longitude[rows], look.columns.latitude[rows])
    return _among(rows, (1.0 / (1.0 + distances)).astype(np.float32), look.allowed, limit)


def friends_going(look: Looking, limit: int) -> Retrieved:
    known = [(look.columns.row_of.get(one.event_id), one.count) for one in look.request.friends_going]
    pairs = [(row, count) for row, count in known if row is not None]
    if not pairs:
        return NOTHING
    rows, counts = zip(*pairs, strict=True)
    return _among(np.array(rows, np.int64), np.array(counts, np.float32), look.allowed, limit)


def trending(look: Looking, limit: int) -> Retrieved:
    rows = look.columns.trending
    return NOTHING if rows.size == 0 else _among(rows, look.columns.trend[rows], look.allowed, limit)


Source = Callable[[Looking, int], Retrieved]

SOURCES: Final[dict[str, Source]] = {
    "two_tower": two_tower,
    "collaborative": collaborative,
    "friends": friends_going,
    "content": content,
    "geographic": geographic,
    "trending": trending,
}
"""In the order in which they are asked: what is worth most comes first, should time run out."""

QUOTAS: Final[dict[str, int]] = {
    "two_tower": 150,
    "collaborative": 60,
    "friends": 40,
    "content": 80,
    "geographic": 60,
    "trending": 40,
}


def _best(scores: Floats, allowed: Flags, limit: int) -> Retrieved:
    open_scores = np.where(allowed, scores, np.float32(-np.inf))
    rows = best_rows(open_scores, limit)
    return Retrieved(rows, open_scores[rows])


def _among(rows: npt.NDArray[np.int64], scores: Floats, allowed: Flags, limit: int) -> Retrieved:
    kept = allowed[rows] & np.isfinite(scores)
    rows, scores = rows[kept], scores[kept]
    order = best_rows(scores, limit)
    return Retrieved(rows[order], scores[order])


def _ring(centre: tuple[int, int], ring: int) -> Sequence[tuple[int, int]]:
    """The cells at this many steps from the centre."""
    x, y = centre
    if ring == 0:
        return [centre]
    steps = range(-ring, ring + 1)
    return [(x + right, y + up) for right in steps for up in steps if max(abs(right), abs(up)) == ring]


def _as_person(request: RecommendationRequest) -> ModelPerson:
    return ModelPerson(user_id=request.user_id, interests=request.interests, coordinates=request.coordinates)
