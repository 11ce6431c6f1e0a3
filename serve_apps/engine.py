"""What a replica answers with: one model version and the live events embedded by it, always changed together.

Called by the Serve deployment; knows nothing of Ray or the disk. `use_model` and `use_events` build the next snapshot
beside the current one and put it in place with one assignment, so an answer reads one snapshot from its first line to
its last and never mixes versions. Both builders block and must be called from one thread at a time; `answer` may run
beside them in another.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np

from cluster.kernel.clock import Clock
from cluster.kernel.errors import INVALID_REQUEST, UNAVAILABLE, FlowError
from serve_apps.contracts import CatalogueEvent, ModelPerson, RecommendationAnswer, RecommendationRequest
from serve_apps.features import Features, content_digests, event_features, people_features
from serve_apps.retrieval import CandidateIndex, Query, Vectors

EMBEDDING_BATCH = 2_048
MAX_LIMIT = 100


class StoredVectors(NamedTuple):
    """The vectors that training computed: each event's row, and the checksum of the content it was computed from."""

    rows: dict[str, int]
    digests: Sequence[int]
    vectors: Vectors


class LoadedModel(Protocol):
    """A version in memory. A person's and an event's vector are of one width; their dot product says liking.

    Embedding may be called from two threads at once. An id the model has not seen is embedded by its content.
    """

    @property
    def version(self) -> str: ...

    @property
    def stored(self) -> StoredVectors: ...

    def embed_people(self, people: Features) -> Vectors: ...

    def embed_events(self, events: Features) -> Vectors: ...


@dataclass(frozen=True, slots=True)
class _Snapshot:
    model: LoadedModel
    events: tuple[CatalogueEvent, ...]
    vectors: Vectors
    index: CandidateIndex


class RecommendationEngine:
    """`catalogue_limit` bounds how many live events are held; the last of the catalogue's order are left out."""

    def __init__(self, clock: Clock, catalogue_limit: int) -> None:
        self._clock = clock
        self._catalogue_limit = catalogue_limit
        self._events: tuple[CatalogueEvent, ...] | None = None
        self._model: LoadedModel | None = None
        self._snapshot: _Snapshot | None = None
        self._left_out = 0

    @property
    def model_version(self) -> str | None:
        """The version that answers now; None while none can."""
        snapshot = self._snapshot
        return None if snapshot is None else snapshot.model.version

    @property
    def loaded_version(self) -> str | None:
        """The version in memory, which answers as soon as there are events."""
        model = self._model
        return None if model is None else model.version

    def use_model(self, model: LoadedModel) -> None:
        """Answer with `model` from now on. When its vectors cannot be computed this raises, and nothing changes."""
        if self._events is not None:
            self._snapshot = _embedded(model, self._events)
        self._model = model

    def use_events(self, events: Sequence[CatalogueEvent]) -> None:
        """Recommend from `events` from now on; only what is new or changed is embedded."""
        kept = tuple(events[: self._catalogue_limit])
        self._left_out = len(events) - len(kept)
        if kept == self._events:
            return
        if self._model is not None:
            self._snapshot = _re_embedded(self._snapshot, self._model, kept)
        self._events = kept

    def answer(self, requests: Sequence[RecommendationRequest]) -> list[RecommendationAnswer | FlowError]:
        """One answer or error per request, in order; all of them from the same version."""
        snapshot = self._snapshot
        if snapshot is None:
            what = "No model is live yet." if self._model is None else "The catalogue has not been read yet."
            return [FlowError(UNAVAILABLE, what, retry_after_ms=1_000) for _ in requests]
        wrong = FlowError(INVALID_REQUEST, f"limit must be 1 to {MAX_LIMIT}.", fields=("limit",))
        answers: list[RecommendationAnswer | FlowError] = [wrong] * len(requests)
        valid = [row for row, request in enumerate(requests) if 1 <= request.limit <= MAX_LIMIT]
        if valid:
            found = _search(snapshot, [requests[row] for row in valid], self._clock.now_ms())
            for row, answer in zip(valid, found, strict=True):
                answers[row] = answer
        return answers

    def statistics(self) -> dict[str, Any]:
        snapshot = self._snapshot
        return {
            "modelVersion": self.model_version,
            "liveEvents": 0 if self._events is None else len(self._events),
            "leftOutEvents": self._left_out,
            "candidates": 0 if snapshot is None else len(snapshot.index),
            "candidatesDropped": 0 if snapshot is None else snapshot.index.dropped,
        }


def _search(snapshot: _Snapshot, requests: list[RecommendationRequest], now_ms: int) -> list[RecommendationAnswer]:
    people = people_features(
        [
            ModelPerson(user_id=request.user_id, interests=request.interests, coordinates=request.coordinates)
            for request in requests
        ]
    )
    queries = [Query(request.limit, request.exclude_event_ids) for request in requests]
    found = snapshot.index.search(queries, snapshot.model.embed_people(people), now_ms)
    return [RecommendationAnswer(events=events, model_version=snapshot.model.version) for events in found]


def _embedded(model: LoadedModel, events: tuple[CatalogueEvent, ...]) -> _Snapshot:
    """Every event's vector, from the version's own file where the event's content is what training saw."""
    features = event_features(events)
    digests = content_digests(features)
    stored = model.stored
    vectors = np.zeros((len(events), stored.vectors.shape[1]), np.float32)
    missing = []
    for row, event in enumerate(events):
        known = stored.rows.get(event.event_id)
        if known is not None and stored.digests[known] == digests[row]:
            vectors[row] = stored.vectors[known]
        else:
            missing.append(row)
    _embed_rows(model, features, missing, vectors)
    return _Snapshot(model, events, vectors, CandidateIndex(events, vectors))


def _re_embedded(before: _Snapshot | None, model: LoadedModel, events: tuple[CatalogueEvent, ...]) -> _Snapshot:
    """Like `_embedded`, taking the vectors of unchanged events from the snapshot before."""
    if before is None or before.model is not model:
        return _embedded(model, events)
    rows_before = {event.event_id: row for row, event in enumerate(before.events)}
    vectors = np.zeros((len(events), before.vectors.shape[1]), np.float32)
    missing = []
    for row, event in enumerate(events):
        known = rows_before.get(event.event_id)
        if known is not None and _content(before.events[known]) == _content(event):
            vectors[row] = before.vectors[known]
        else:
            missing.append(row)
    changed = [events[row] for row in missing]
    fresh = np.zeros((len(changed), vectors.shape[1]), np.float32)
    _embed_rows(model, event_features(changed), list(range(len(changed))), fresh)
    vectors[missing] = fresh
    return _Snapshot(model, events, vectors, CandidateIndex(events, vectors))


def _content(event: CatalogueEvent) -> tuple[Any, ...]:
    return (event.title, event.category, event.tags, event.coordinates)


def _embed_rows(model: LoadedModel, features: Features, rows: list[int], vectors: Vectors) -> None:
    for start in range(0, len(rows), EMBEDDING_BATCH):
        batch = rows[start : start + EMBEDDING_BATCH]
        vectors[batch] = model.embed_events(features.take(batch))
