"""Events like one event: by the angle of their vectors, or by shared topics where there is no model. Pure NumPy."""

import numpy as np

from serve_apps.contracts import RecommendationAnswer, ScoredEvent, SimilarRequest
from serve_apps.pipeline.columns import Columns, Floats
from serve_apps.pipeline.pipeline import Snapshot
from serve_apps.retrieval import best_rows


def similar_events(snapshot: Snapshot, request: SimilarRequest, now_ms: int) -> RecommendationAnswer:
    """The event must be one of the catalogue's; it is never among its own likes."""
    columns, vectors = snapshot.columns, snapshot.vectors
    row = columns.row_of[request.event_id]
    scores = _by_topics(columns, row) if vectors is None else _by_angle(vectors, row)
    allowed = columns.open_at(now_ms)
    allowed[row] = False
    allowed[columns.rows(request.exclude_event_ids)] = False
    scores = np.where(allowed & (scores > 0.0), scores, -np.inf).astype(np.float32)
    category = columns.events[row].category
    events = tuple(
        ScoredEvent(
            columns.events[place].event_id,
            float(scores[place]),
            ("similar",),
            (f"It is about {category}, too.",) if category and columns.events[place].category == category else (),
        )
        for place in best_rows(scores, request.limit).tolist()
    )
    return RecommendationAnswer(
        events=events,
        model_version=snapshot.version,
        fallback=vectors is None,
        ranker="angle" if vectors is not None else "topics",
    )


def _by_angle(vectors: Floats, row: int) -> Floats:
    lengths = np.linalg.norm(vectors, axis=1) * max(float(np.linalg.norm(vectors[row])), 1e-9)
    scores: Floats = (vectors @ vectors[row]) / np.where(lengths > 0.0, lengths, 1.0)
    return scores


def _by_topics(columns: Columns, row: int) -> Floats:
    """Shared topics, rarer ones counting for more."""
    scores = np.zeros(len(columns), np.float32)
    for topic in columns.topics[row]:
        rows = columns.by_topic.get(int(topic)) if topic else None
        if rows is not None:
            scores[rows] += np.log1p(len(columns) / rows.size)
    return scores
