"""Sources against the plain sums that they shorten."""

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from serve_apps.contracts import Acted, CatalogueEvent, RecommendationRequest
from serve_apps.pipeline import columns as event_columns
from serve_apps.pipeline.ranking_features import NAMES, feature_matrix, taste
from serve_apps.pipeline.sources import NEWEST_PER_TOPIC, Looking, content
from tests.serve_apps.builders import event

TOPICS = ("jazz", "chess", "food", "film")
NOW_MS = 1_700_000_000_000

topics = st.lists(st.sampled_from(TOPICS), max_size=3, unique=True).map(tuple)


def catalogue(tags: list[tuple[str, ...]]) -> list[CatalogueEvent]:
    return [
        CatalogueEvent(
            event_id=f"e{number}",
            title="",
            category=one[0] if one else "other",
            tags=one,
            coordinates=None,
            start_ms=NOW_MS,
            end_ms=event("e").end_ms,
            organizer_id=f"o{number % 3}",
        )
        for number, one in enumerate(tags)
    ]


@given(
    tags=st.lists(topics, min_size=1, max_size=40),
    interests=topics,
    limit=st.integers(0, 50),
    hidden=st.sets(st.integers(0, 39)),
)
def test_content_is_by_the_sum_of_how_rare_the_shared_topics_are(
    tags: list[tuple[str, ...]], interests: tuple[str, ...], limit: int, hidden: set[int]
) -> None:
    events = catalogue(tags)
    columns = event_columns.build(events)
    request = RecommendationRequest(user_id="u", limit=10, interests=interests)
    known = taste(request, columns)
    allowed = np.array([row not in hidden for row in range(len(events))])
    forbidden = int((~allowed).sum())
    look = Looking(request, known, columns, allowed, forbidden, None, None, NOW_MS)
    scores = np.zeros(len(events))
    for topic in known.topics.tolist():
        rows = columns.by_topic.get(topic)
        if rows is not None:
            scores[rows[-NEWEST_PER_TOPIC:]] += math.log1p(len(events) / rows.size)
    single = scores.astype(np.float32)
    wanted = [row for row in range(len(events)) if allowed[row] and single[row] > 0]
    assert content(look, limit).rows.tolist() == sorted(wanted, key=lambda row: (-single[row], row))[:limit]


@given(
    tags=st.lists(topics, min_size=1, max_size=20),
    interests=topics,
    liked=st.sets(st.integers(0, 19), max_size=4),
)
def test_topics_and_organizers_are_shared_as_sets_share(
    tags: list[tuple[str, ...]], interests: tuple[str, ...], liked: set[int]
) -> None:
    events = catalogue(tags)
    columns = event_columns.build(events)
    history = tuple(Acted(f"e{row}", 1.0, 0) for row in sorted(liked) if row < len(events))
    request = RecommendationRequest(user_id="u", limit=10, interests=interests, history=history)
    known = taste(request, columns)
    rows = np.arange(len(events))
    nothing = np.zeros(rows.size, np.float32)
    matrix = feature_matrix(request, known, columns, rows, nothing, nothing, NOW_MS)
    past = [set(columns.topics[columns.row_of[one.event_id]].tolist()) - {0} for one in history]
    for row in rows.tolist():
        own, theirs = set(known.topics.tolist()), set(columns.topics[row].tolist()) - {0}
        share = len(own & theirs) / min(len(own), max(1, len(theirs))) if own else 0.0
        weight = sum(len(one & theirs) for one in past) / max(1, len(past)) / max(1, len(theirs))
        knows = any(events[row].organizer_id == events[columns.row_of[one.event_id]].organizer_id for one in history)
        seen = dict(zip(NAMES, matrix[row].tolist(), strict=True))
        assert np.allclose((seen["topics"], seen["history_topics"]), (share, weight), atol=1e-6)
        assert (seen["knows_organizer"], seen["has_history"]) == (knows, bool(history))
