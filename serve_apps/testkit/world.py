"""A small made-up world that stages are tried on: events of every kind, people with and without a past.

Seeded, so that a failure can be seen again. Nothing here needs a server.
"""

import random
from collections.abc import Sequence
from typing import Final

import numpy as np

from serve_apps.contracts import (
    Acted,
    CatalogueEvent,
    CatalogueView,
    CirclePlans,
    MatchPerson,
    RankingBatch,
    RecommendationRequest,
)
from serve_apps.pipeline import columns as event_columns
from serve_apps.pipeline.columns import Columns
from serve_apps.pipeline.ranking_features import NAMES, feature_matrix, taste

NOW_MS: Final = 1_800_000_000_000
_HOUR_MS: Final = 3_600_000
_TOPICS: Final = ("jazz", "python", "hiking", "theatre", "chess", "food")


def events(count: int, seed: int = 1) -> tuple[CatalogueEvent, ...]:
    chance = random.Random(seed)  # noqa: S311
    made = []
    for number in range(count):
        topic = chance.choice(_TOPICS)
        start = NOW_MS + chance.randrange(-5, 500) * _HOUR_MS
        made.append(
            CatalogueEvent(
                event_id=f"event-{number}",
                title=f"{topic.title()} night {number}" if number % 9 else "",
                category=topic if number % 7 else "",
                tags=tuple(chance.sample(_TOPICS, chance.randrange(3))),
                coordinates=(13.4 + chance.gauss(0, 0.2), 52.5 + chance.gauss(0, 0.1)) if number % 5 else None,
                start_ms=start,
                end_ms=start + 2 * _HOUR_MS,
                is_public=number % 11 != 0,
                organizer_id=f"organizer-{number % 13}",
                price=float(chance.choice((0, 0, 5, 12, 80))),
                capacity=chance.choice((None, 0, 30)),
                published_ms=NOW_MS - chance.randrange(1, 2_000) * _HOUR_MS,
            )
        )
    return tuple(made)


def people(known: Sequence[CatalogueEvent], limit: int = 10) -> tuple[RecommendationRequest, ...]:
    """Somebody of whom all is known, a stranger, somebody whose past names events that are gone, somebody abroad."""
    past = tuple(Acted(event.event_id, 0.9, NOW_MS - 1_000) for event in known[:8])
    plans = tuple(CirclePlans(event.event_id, 2, 3) for event in known[5:9])
    return (
        RecommendationRequest(
            user_id="ada",
            limit=limit,
            interests=("jazz", "chess"),
            coordinates=(13.4, 52.5),
            history=past,
            circle_plans=plans,
        ),
        RecommendationRequest(user_id="stranger", limit=limit),
        RecommendationRequest(
            user_id="late", limit=limit, history=(Acted("gone", 1.0, 0),), exclude_event_ids=("gone", "event-1")
        ),
        RecommendationRequest(user_id="abroad", limit=limit, interests=("",), coordinates=(-180.0, 90.0)),
    )


def columns_of(known: Sequence[CatalogueEvent]) -> Columns:
    return event_columns.build(known)


def view(columns: Columns, *, with_vectors: bool = True) -> CatalogueView:
    vectors = np.random.default_rng(3).normal(size=(len(columns), 8)).astype(np.float32) if with_vectors else None
    is_open = columns.open_at(NOW_MS)
    is_open.flags.writeable = False
    if vectors is not None:
        vectors.flags.writeable = False
    return CatalogueView(columns.events, is_open, vectors, NOW_MS)


def batch(requests: Sequence[RecommendationRequest], columns: Columns, each: int) -> RankingBatch:
    """`each` events for each person; its features cannot be written to."""
    rows = np.arange(min(each, len(columns)))
    zeros = np.zeros(rows.size, np.float32)
    parts = [
        feature_matrix(request, taste(request, columns), columns, rows, zeros, zeros, NOW_MS) for request in requests
    ]
    features = np.concatenate(parts) if parts else np.zeros((0, len(NAMES)), np.float32)
    features.flags.writeable = False
    return RankingBatch(
        features=features,
        names=NAMES,
        person=np.repeat(np.arange(len(requests)), rows.size),
        requests=requests,
        events=[columns.events[row] for _ in requests for row in rows.tolist()],
    )


def strangers(count: int) -> tuple[MatchPerson, ...]:
    chance = random.Random(5)  # noqa: S311
    return tuple(
        MatchPerson(
            user_id=f"person-{number}",
            interests=tuple(chance.sample(_TOPICS, chance.randrange(4))),
            coordinates=(13.4, 52.5) if number % 3 else None,
            activity=chance.choice((None, 0.0, 10.0)),
            mutual_friends=chance.choice((None, 0, 40)),
        )
        for number in range(count)
    )
