"""Exact search over the events that may be recommended now.

A `CandidateIndex` is built by the engine when the model or the catalogue changes and never changes itself, so any
number of answers may read it while the next one is built. It promises the true best by dot product, ties in the
catalogue's order. It never returns an event that is over, hidden or excluded; it returns fewer than asked rather than
such a one.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from serve_apps.contracts import CatalogueEvent, ScoredEvent

Vectors = npt.NDArray[np.float32]


class Query(NamedTuple):
    """One person's search: at most `limit` events, none of `excluded`."""

    limit: int
    excluded: Iterable[str]


class CandidateIndex:
    """Public events with finite vectors; `dropped` counts those whose vectors were not finite."""

    def __init__(self, events: Sequence[CatalogueEvent], vectors: Vectors) -> None:
        if len(events) != len(vectors):
            raise ValueError(f"{len(events)} events but {len(vectors)} vectors")
        finite: npt.NDArray[np.bool_] = np.isfinite(vectors.sum(axis=1))
        rows = [row for row, event in enumerate(events) if event.is_public and finite[row]]
        self.dropped = int(len(events) - finite.sum())
        self._ids = tuple(events[row].event_id for row in rows)
        self._rows = {event_id: row for row, event_id in enumerate(self._ids)}
        self._vectors = np.ascontiguousarray(vectors[rows], dtype=np.float32)
        self._end_ms = np.fromiter((events[row].end_ms for row in rows), np.int64, len(rows))

    def __len__(self) -> int:
        return len(self._ids)

    def search(self, queries: Sequence[Query], vectors: Vectors, now_ms: int) -> list[tuple[ScoredEvent, ...]]:
        """One tuple per query, best first."""
        if not self._ids:
            return [() for _ in queries]
        scores = vectors @ self._vectors.T
        over = np.flatnonzero(self._end_ms <= now_ms)
        if over.size:
            scores[:, over] = -np.inf
        return [self._best(query, row) for query, row in zip(queries, scores, strict=True)]

    def _best(self, query: Query, scores: Vectors) -> tuple[ScoredEvent, ...]:
        excluded = [self._rows[event_id] for event_id in query.excluded if event_id in self._rows]
        scores[excluded] = -np.inf
        limit = min(query.limit, scores.size)
        if limit <= 0:
            return ()
        # Everything that ties with the last place takes part in the sort, so that ties fall in the catalogue's order.
        threshold = np.partition(scores, scores.size - limit)[scores.size - limit]
        near = np.flatnonzero(scores >= threshold)
        best = near[np.argsort(-scores[near], kind="stable")][:limit]
        return tuple(ScoredEvent(self._ids[row], float(scores[row])) for row in best if scores[row] > -np.inf)
