"""What a ranker sees of a person and an event: the same code for training and for serving.

Pure NumPy. `feature_matrix` is called by the pipeline for candidates and by `ranking_examples` for what people did; a
test compares the two. Every value is finite: what is not known is 0, and a column beside it says so.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from serve_apps.contracts import CirclePlans, ModelPerson, RecommendationRequest
from serve_apps.features import BUCKETS, people_features
from serve_apps.geography import distances_km
from serve_apps.pipeline.columns import Columns, Floats, Rows

RANKING_FEATURES_VERSION: Final = 2

NAMES: Final = (
    "tower",  # the model's score as `standing` measures it, squashed to -1..1
    "alike",  # likeness to what was liked before, in the same way
    "topics",  # shared topics, as a share of the fewer
    "distance",  # log(1 + km) / 5
    "has_distance",
    "hours_to_start",  # log(1 + hours) / 8
    "starts_today",
    "weekend",
    "evening",
    "friends_going",  # log(1 + friends) / 3
    "price",  # log(1 + price) / 6
    "is_free",
    "price_against_usual",  # log ratio to what the person's events cost, -1..1
    "trend",  # 0..1
    "going",  # log(1 + people) / 6
    "fullness",  # 0..1
    "freshness",  # halves every week since it was published
    "history_topics",  # shared topics with what was liked before, by weight
    "knows_organizer",
    "has_history",
)

HOUR_MS: Final = 3_600_000
DAY_MS: Final = 24 * HOUR_MS
MOST_HISTORY: Final = 50
_LIKED: Final = 0.5


@dataclass(frozen=True, slots=True)
class Taste:
    """What a person and a past say, boiled down once a request. `interests` are as given and casefolded, `any_liked`
    the topics of everything that was liked, `plans` what the person's circle plans by event."""

    topics: npt.NDArray[np.int32]
    past_topics: npt.NDArray[np.int32]
    past_weights: Floats
    usual_price: float | None
    organizers: npt.NDArray[np.int32]
    liked_rows: Rows
    liked_topics: tuple[frozenset[int], ...]
    any_liked: frozenset[int]
    interests: tuple[tuple[str, str], ...]
    plans: dict[str, CirclePlans]


def taste(request: RecommendationRequest, columns: Columns) -> Taste:
    """Events of the history that are no longer in the catalogue say nothing."""
    person = ModelPerson(user_id=request.user_id, interests=request.interests, coordinates=request.coordinates)
    own = people_features([person]).topics[0]
    liked = [
        (row, acted.weight)
        for acted in request.history[:MOST_HISTORY]
        if acted.weight >= _LIKED and (row := columns.row_of.get(acted.event_id)) is not None
    ]
    rows = np.array([row for row, _ in liked], np.int64)
    weights = np.array([weight for _, weight in liked], np.float32)
    topics = columns.topics_of(rows)
    liked_topics = tuple(frozenset(row) - {0} for row in topics.tolist())
    flat, repeated = topics.ravel(), np.repeat(weights, topics.shape[1])
    names, inverse = np.unique(flat[flat > 0], return_inverse=True)
    sums = np.bincount(inverse, repeated[flat > 0], names.size).astype(np.float32)
    prices = columns.price[rows]
    return Taste(
        topics=own[own > 0],
        past_topics=names.astype(np.int32),
        past_weights=sums / max(float(weights.sum()), 1e-9),
        usual_price=float(prices.mean()) if rows.size else None,
        organizers=np.unique(columns.organizer[rows][columns.organizer[rows] >= 0]),
        liked_rows=rows,
        liked_topics=liked_topics,
        any_liked=frozenset().union(*liked_topics),
        interests=tuple((interest, interest.casefold()) for interest in request.interests),
        plans={one.event_id: one for one in reversed(request.circle_plans)},
    )


def feature_matrix(
    request: RecommendationRequest,
    known: Taste,
    columns: Columns,
    rows: Rows,
    tower: Floats,
    alike: Floats,
    now_ms: int,
) -> Floats:
    """One row of `NAMES` for each of `rows`; `tower` and `alike` are their scores, 0 where there is no model."""
    topics = columns.topics_of(rows)
    counts = np.maximum((topics > 0).sum(axis=1), 1)
    start_ms, published_ms = columns.start_ms[rows], columns.published_ms[rows]
    hours = np.maximum(0.0, (start_ms - now_ms) / HOUR_MS)
    distance, has_distance = _distances(request, columns, rows)
    hour_of_day = start_ms % DAY_MS / HOUR_MS
    price = np.nan_to_num(columns.price[rows])
    log_price = np.log1p(price)
    capacity, going = columns.capacity[rows], columns.going[rows]
    age_weeks = np.maximum(0.0, (now_ms - published_ms) / (7 * DAY_MS))
    values = (
        np.tanh(np.nan_to_num(tower) / 4.0),
        np.tanh(np.nan_to_num(alike) / 4.0),
        _share(topics, counts, known.topics),
        np.log1p(distance) / 5.0,
        has_distance,
        np.log1p(hours) / 8.0,
        hours < 24.0,
        (start_ms // DAY_MS + 4) % 7 >= 5,  # 1 January 1970 was a Thursday
        (hour_of_day >= 17.0) | (hour_of_day < 2.0),
        np.log1p(_friends(request, columns, rows)) / 3.0,
        log_price / 6.0,
        price <= 0.0,
        0.0 if known.usual_price is None else np.tanh(log_price - np.log1p(known.usual_price)),
        columns.trend[rows],
        np.log1p(going) / 6.0,
        np.where(capacity > 0, np.clip(going / np.maximum(capacity, 1), 0.0, 1.0), 0.0),
        np.where(published_ms > 0, 0.5**age_weeks, 0.0),
        _weighted(topics, counts, known),
        (columns.organizer[rows, np.newaxis] == known.organizers).any(axis=1),
        known.liked_rows.size > 0,
    )
    turned = np.empty((len(NAMES), rows.size), np.float32)
    for place, value in enumerate(values):
        turned[place] = value
    matrix: Floats = np.ascontiguousarray(turned.T)
    return np.nan_to_num(matrix, copy=False, posinf=0.0, neginf=0.0)


def _distances(request: RecommendationRequest, columns: Columns, rows: Rows) -> tuple[npt.NDArray[np.float64], ...]:
    if request.coordinates is None:
        return np.zeros(rows.size), np.zeros(rows.size)
    distances = distances_km(request.coordinates, columns.longitude[rows], columns.latitude[rows])
    is_known = np.isfinite(distances)
    return np.where(is_known, distances, 0.0), is_known.astype(np.float64)


def _friends(request: RecommendationRequest, columns: Columns, rows: Rows) -> npt.NDArray[np.float64]:
    counts = np.zeros(rows.size)
    for one in request.circle_plans:
        row = columns.row_of.get(one.event_id) if one.friends_going else None
        if row is not None:
            counts[rows == row] = one.friends_going
    return counts


def _share(
    topics: npt.NDArray[np.int32], counts: npt.NDArray[np.int64], own: npt.NDArray[np.int32]
) -> npt.NDArray[np.float64]:
    if own.size == 0:
        return np.zeros(len(topics))
    is_own = np.zeros(BUCKETS, bool)
    is_own[own] = True
    shares: npt.NDArray[np.float64] = np.minimum(1.0, is_own[topics].sum(axis=1) / np.minimum(counts, own.size))
    return shares


def _weighted(topics: npt.NDArray[np.int32], counts: npt.NDArray[np.int64], known: Taste) -> npt.NDArray[np.float64]:
    if known.past_topics.size == 0:
        return np.zeros(len(topics))
    weights = np.zeros(BUCKETS, np.float32)
    weights[known.past_topics] = known.past_weights
    sums: npt.NDArray[np.float64] = weights[topics].sum(axis=1) / counts
    return sums
