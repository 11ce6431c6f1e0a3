"""Where candidates come from: seven sources, each with a quota, each of them optional, and what fills up.

Used by the pipeline. A source looks at one person at a time, at columns that do not change under it, and at queries of
the whole batch that were multiplied with all vectors at once. It proposes open events only, at most its quota, best
first, and nothing where it has nothing to say. It never raises for odd data.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from serve_apps.contracts import NEARBY_KM, Filler, RecommendationRequest, Retrieved
from serve_apps.features import BUCKETS, Buckets
from serve_apps.geography import distances_km
from serve_apps.pipeline.columns import NO_ROWS, Columns, Flags, Floats, Rows
from serve_apps.pipeline.neighbourhood import rows_around
from serve_apps.pipeline.ranking_features import Taste
from serve_apps.retrieval import best_allowed, best_rows

NOTHING: Final = Retrieved(NO_ROWS, np.zeros(0, np.float32))
NEWEST_PER_TOPIC: Final = 4_000
FRESH_MS: Final = 2 * 24 * 3_600_000
"""How long an event is new."""
_FIRST_LOOK_KM: Final = 4.0
_SAME_DISTANCE_KM: Final = 0.5
"""Whoever goes there does not feel a difference below this; what starts sooner comes first."""
_CLOSE_KM: Final = 10.0


class Sight(NamedTuple):
    """One look's scores of every row, the best of each lane, and by how much and in what they are told."""

    scores: Floats
    tops: Floats
    mean: np.float32
    spread: np.float32

    def at(self, rows: Rows) -> Floats:
        """In standard deviations."""
        told: Floats = (self.scores[rows] - self.mean) / self.spread
        return told


@dataclass(frozen=True, slots=True)
class Looking:
    """One person's look at the events. `tower` and `alike` are scores of every row: by the two towers, and by likeness
    to what the person liked; None without a model or a history. `allowed` are open and not excluded; `forbidden` is how
    many are open and excluded."""

    request: RecommendationRequest
    taste: Taste
    columns: Columns
    allowed: Flags
    forbidden: int
    tower: Sight | None
    alike: Sight | None
    now_ms: int


def two_tower(look: Looking, limit: int) -> Retrieved:
    return NOTHING if look.tower is None else _best(look, look.tower, limit)


def collaborative(look: Looking, limit: int) -> Retrieved:
    """What is like the events that the person liked, in the space in which the crowd's behaviour put them."""
    return NOTHING if look.alike is None else _best(look, look.alike, limit)


def content(look: Looking, limit: int) -> Retrieved:
    """What shares topics with the person's interests, rarer topics counting for more."""
    postings = [look.columns.by_topic.get(topic) for topic in look.taste.topics.tolist()]
    found = [rows[-NEWEST_PER_TOPIC:] for rows in postings if rows is not None]
    if not found:
        return NOTHING
    total = max(1, len(look.columns))
    rarity = np.array([math.log1p(total / rows.size) for rows in found])
    first = min(int(rows[0]) for rows in found)  # before it there is nothing to add up
    weights = np.repeat(rarity, [rows.size for rows in found])
    scores = np.bincount(np.concatenate(found) - first, weights, total - first).astype(np.float32)
    scores *= look.allowed[first:]
    rows = best_rows(scores, limit)
    rows = rows[scores[rows] > 0.0]
    return Retrieved(rows + first, scores[rows])


def fresh(look: Looking, limit: int) -> Retrieved:
    """What was published lately and suits by its content: interests and past by shared topics, rarer ones counting for
    more, then how near it is. Nobody has done anything with it yet, so nothing else can speak for it."""
    columns, rows = look.columns, look.columns.newest
    wanted = look.allowed[rows] & (columns.published_ms[rows] > look.now_ms - FRESH_MS)
    is_told = look.taste.topics.size > 0 or look.taste.past_topics.size > 0
    suits = _suiting(look, columns.newest_topics) if is_told else np.zeros(rows.size, np.float32)
    if is_told:
        wanted &= suits > 0.0
    rows, suits = rows[wanted], suits[wanted]
    if rows.size == 0:
        return NOTHING
    near = np.zeros(rows.size)
    if look.request.coordinates is not None:
        distances = distances_km(look.request.coordinates, columns.longitude[rows], columns.latitude[rows])
        near = np.nan_to_num(1.0 / (1.0 + distances / _CLOSE_KM))
    if not is_told:
        wanted = near >= 1.0 / (1.0 + NEARBY_KM / _CLOSE_KM)
        rows, suits, near = rows[wanted], suits[wanted], near[wanted]
    return _first(rows, (suits + near).astype(np.float32), limit)


def _suiting(look: Looking, topics: Buckets) -> Floats:
    """0 to 2: the share of the interests that each has, and the weight of its topics in the past."""
    weights = np.zeros(BUCKETS, np.float32)
    total = max(1, len(look.columns))
    rarity = {topic: math.log1p(total / (1 + _posted(look.columns, topic))) for topic in look.taste.topics.tolist()}
    whole = max(sum(rarity.values()), 1e-9)
    for topic, weight in rarity.items():
        weights[topic] = weight / whole
    weights[look.taste.past_topics] += look.taste.past_weights / max(1, look.taste.past_topics.size)
    suiting: Floats = weights[topics].sum(axis=1)
    return suiting


def _posted(columns: Columns, topic: int) -> int:
    rows = columns.by_topic.get(topic)
    return 0 if rows is None else int(rows.size)


def geographic(look: Looking, limit: int) -> Retrieved:
    """What is nearest, within the radius asked for; of what is equally near, what starts sooner."""
    place = look.request.coordinates
    if place is None:
        return NOTHING
    columns, reach_km = look.columns, look.request.radius_km or NEARBY_KM
    look_km = min(_FIRST_LOOK_KM, reach_km)
    while True:
        rows = rows_around(columns, place, look_km)
        rows = rows[look.allowed[rows]]
        distances = distances_km(place, columns.longitude[rows], columns.latitude[rows])
        is_near = distances <= look_km
        if int(is_near.sum()) >= limit or look_km >= reach_km:
            break
        look_km = min(2.0 * look_km, reach_km)
    rows, distances = rows[is_near], distances[is_near]
    steps = np.floor(distances / _SAME_DISTANCE_KM)
    order = np.lexsort((rows, columns.start_ms[rows], steps))[:limit]
    return Retrieved(rows[order], (1.0 / (1.0 + distances[order])).astype(np.float32))


def friends(look: Looking, limit: int) -> Retrieved:
    """Where most friends and people followed go or are interested; of equally many, what starts sooner."""
    known = [(look.columns.row_of.get(one.event_id), one.circle) for one in look.request.circle_plans]
    counts = {row: count for row, count in known if row is not None and count > 0 and look.allowed[row]}
    if not counts:
        return NOTHING
    rows = np.fromiter(counts, np.int64, len(counts))
    scores = np.fromiter(counts.values(), np.float32, len(counts))
    return _ordered(rows, scores, look.columns.start_ms[rows], limit)


def trending(look: Looking, limit: int) -> Retrieved:
    rows = look.columns.trending
    rows = rows[look.allowed[rows]]
    return _ordered(rows, look.columns.trend[rows], look.columns.start_ms[rows], limit)


def upcoming(look: Looking, limit: int) -> Retrieved:
    """What starts soonest: the last resort, where nothing is known of a person and nobody has done anything yet."""
    rows = np.flatnonzero(look.allowed)
    until_start = (look.columns.start_ms[rows] - look.now_ms) / 3_600_000.0
    scores = np.where(until_start >= 0.0, -until_start, -1e9 + until_start).astype(np.float32)
    return _first(rows, scores, limit)


Source = Callable[[Looking, int], Retrieved]

SOURCES: Final[dict[str, Source]] = {
    "two_tower": two_tower,
    "collaborative": collaborative,
    "friends": friends,
    "content": content,
    "fresh": fresh,
    "geographic": geographic,
    "trending": trending,
}
"""In the order in which they are asked: what is worth most comes first, should time run out."""

FILLERS: Final[dict[Filler, Source]] = {"trending": trending, "upcoming": upcoming}

QUOTAS: Final[dict[str, int]] = {
    "two_tower": 150,
    "collaborative": 60,
    "friends": 40,
    "content": 80,
    "fresh": 30,
    "geographic": 60,
    "trending": 40,
}


def _best(look: Looking, sight: Sight, limit: int) -> Retrieved:
    rows = best_allowed(sight.scores, sight.tops, look.allowed, limit, look.forbidden)
    return Retrieved(rows, sight.at(rows))


def _first(rows: Rows, scores: Floats, limit: int) -> Retrieved:
    """By score, most first; equals stay in their order."""
    places = best_rows(scores, limit)
    return Retrieved(rows[places], scores[places])


def _ordered(rows: Rows, scores: Floats, then: npt.NDArray[np.int64], limit: int) -> Retrieved:
    """By score, most first, then by `then`, least first."""
    order = np.lexsort((rows, then, -scores))[:limit]
    return Retrieved(rows[order], scores[order])
