"""What a replica answers with: one model version and the live events embedded by it, always changed together.

Called by the Serve deployment; knows nothing of Ray or the disk. Every `use_` builds the next snapshot beside the
current one and puts it in place with one assignment, so an answer reads one snapshot from its first line to its last
and never mixes versions. The builders block and must be called from one thread at a time; answers may run beside them
in another. Without a model the other sources answer, and every answer is marked a fallback.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple, Protocol

import numpy as np

from cluster.kernel.clock import Clock
from cluster.kernel.errors import EVENT_NOT_FOUND, INVALID_REQUEST, UNAVAILABLE, FlowError
from serve_apps.contracts import (
    POSITIVE_WEIGHT,
    CatalogueEvent,
    ModelPerson,
    RecommendationAnswer,
    RecommendationRequest,
    Signals,
    SimilarRequest,
)
from serve_apps.features import Features, content_digests, event_features, people_features
from serve_apps.pipeline import columns as event_columns
from serve_apps.pipeline import holding
from serve_apps.pipeline.columns import Columns
from serve_apps.pipeline.pipeline import Pipeline, Snapshot
from serve_apps.pipeline.rankers import DeepRanker
from serve_apps.pipeline.similar import similar_events
from serve_apps.pipeline.standing import Standing, standing
from serve_apps.retrieval import Vectors

EMBEDDING_BATCH: Final = 2_048
MAX_LIMIT: Final = 100
MOST_COUNTED: Final = 10_000
"""So many events that changes brought and that were left out are told apart."""
REBUILD_SHARE: Final = 0.25
"""Once so large a part of the rows is closed, they are left behind by building anew."""


class StoredVectors(NamedTuple):
    """The vectors that training computed: each event's row, and the checksum of the content it was computed from."""

    rows: dict[str, int]
    digests: Sequence[int]
    vectors: Vectors


class LoadedModel(Protocol):
    """A version in memory. A person's and an event's vector are of one width; their dot product says liking.

    Embedding may be called from two threads at once. An id the model has not seen is embedded by its content.
    A history is what one person liked, event ids, newest first; None, for one or for all, is what training knew.
    """

    @property
    def version(self) -> str: ...

    @property
    def stored(self) -> StoredVectors: ...

    def embed_people(self, people: Features, histories: Sequence[Sequence[str] | None] | None = None) -> Vectors: ...

    def embed_events(self, events: Features) -> Vectors: ...


@dataclass(frozen=True, slots=True)
class _Live:
    """One snapshot and the model whose vectors it holds."""

    snapshot: Snapshot
    model: LoadedModel | None
    digests: "np.ndarray[Any, np.dtype[np.uint32]]"


class RecommendationEngine:
    """`catalogue_limit` bounds how many live events are held: those that end soonest. `leftOutEvents` in `statistics`
    are the others; what was left out of changes is one of them again when a whole reading finds room."""

    def __init__(
        self,
        clock: Clock,
        catalogue_limit: int,
        pipeline: Pipeline,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock = clock
        self.catalogue_limit = catalogue_limit
        self._pipeline = pipeline
        self._monotonic = monotonic
        self._model: LoadedModel | None = None
        self._ranker: DeepRanker | None = None
        self._standing: Standing | None = None
        self._signals = Signals()
        self._live: _Live | None = None
        self._left_out = 0
        self._left_out_since: dict[str, None] = {}
        self._dropped = 0

    @property
    def model_version(self) -> str | None:
        """The version that answers now; None while none can."""
        return None if self._live is None else self._live.snapshot.version

    @property
    def loaded_version(self) -> str | None:
        """The version in memory, which answers as soon as there are events."""
        model = self._model
        return None if model is None else model.version

    def use_model(self, model: LoadedModel, ranker: DeepRanker | None = None) -> None:
        """Answer with `model` from now on. When its vectors cannot be computed this raises, and nothing changes."""
        live, scale = self._live, standing(model.stored.vectors)
        if live is not None:
            features = event_features(live.snapshot.columns.events)
            vectors = self._embedded(model, features, content_digests(features), None)
            snapshot = Snapshot(live.snapshot.columns, vectors, model.version, ranker, scale)
            self._live = _Live(snapshot, model, live.digests)
        self._model, self._ranker, self._standing = model, ranker, scale

    def use_events(self, events: Sequence[CatalogueEvent], left_out: int = 0) -> None:
        """Recommend from `events` and no others from now on; only what is new or changed is embedded. `left_out` is how
        many more there are."""
        kept = tuple(holding.soonest(events, self.catalogue_limit))
        self._left_out = left_out + len(events) - len(kept)
        self._left_out_since.clear()
        self._build(kept)

    def _build(self, kept: tuple[CatalogueEvent, ...]) -> None:
        if self._live is not None and kept == self._live.snapshot.columns.events:
            return
        features = event_features(kept)
        digests = content_digests(features)
        vectors = None
        if self._model is not None:
            vectors = self._embedded(self._model, features, digests, self._live)
        columns = event_columns.with_signals(event_columns.build(kept, features), self._signals)
        self._put(columns, vectors, digests)

    def use_changes(self, events: Sequence[CatalogueEvent]) -> None:
        """Take over events that are new or changed; those that are as they were cost nothing."""
        live = self._live
        if live is None:
            return
        columns = live.snapshot.columns
        now_ms = self._clock.now_ms()
        fresh = [event for event in events if _is_news(columns, event, now_ms)]
        hopeless = holding.hopeless(columns, fresh, self.catalogue_limit, now_ms) if fresh else ()
        self._leave_out(hopeless)
        fresh = [event for event in fresh if event.event_id not in hopeless]
        if not fresh:
            return
        if len(columns) - int(columns.is_open.sum()) > REBUILD_SHARE * max(len(columns), 1_000):
            last = {event.event_id: event for event in (*columns.events, *fresh)}  # the last form of each
            left = [event for event in last.values() if event.end_ms > now_ms]
            kept = tuple(holding.soonest(left, self.catalogue_limit))
            self._leave_out({event.event_id for event in left} - {event.event_id for event in kept})
            self._build(kept)
            return
        features = event_features(fresh)
        added = content_digests(features)
        vectors = live.snapshot.vectors
        if self._model is not None and vectors is not None:
            vectors = event_columns.grown(vectors, self._embedded(self._model, features, added, live))
        after = event_columns.changed(columns, fresh, features)
        after, closed = holding.closed_beyond(after, self.catalogue_limit, now_ms)
        self._leave_out(after.events[row].event_id for row in closed)
        self._put(after, vectors, event_columns.grown(live.digests, added))

    def use_signals(self, signals: Signals) -> None:
        self._signals = signals
        live = self._live
        if live is not None:
            columns = event_columns.with_signals(live.snapshot.columns, signals)
            self._live = replace(live, snapshot=replace(live.snapshot, columns=columns))

    def answer(
        self, requests: Sequence[RecommendationRequest], until: float | None = None
    ) -> list[RecommendationAnswer | FlowError]:
        """One answer or error per request, in order; all of them from the same version. `until` is the monotonic second
        by which they are to be there; without one, the shortest deadline counts from now."""
        live = self._live
        if live is None:
            late = FlowError(UNAVAILABLE, "The catalogue has not been read yet.", retry_after_ms=1_000)
            return [late for _ in requests]
        wrong = FlowError(INVALID_REQUEST, f"limit must be 1 to {MAX_LIMIT}.", fields=("limit",))
        answers: list[RecommendationAnswer | FlowError] = [wrong] * len(requests)
        valid = [row for row, request in enumerate(requests) if 1 <= request.limit <= MAX_LIMIT]
        if valid:
            asked = [requests[row] for row in valid]
            if until is None:
                until = self._monotonic() + min(request.deadline_ms for request in asked) / 1000
            personal = [request for request in asked if request.kind == "ai_personalized"]
            queries = _queries(live.model, personal) if live.model is not None and personal else None
            found = self._pipeline.answer(live.snapshot, asked, queries, self._clock.now_ms(), until)
            for row, answer in zip(valid, found, strict=True):
                answers[row] = answer
        return answers

    def similar(self, request: SimilarRequest) -> RecommendationAnswer:
        """Raises FlowError UNAVAILABLE, INVALID_REQUEST, EVENT_NOT_FOUND."""
        live = self._live
        if live is None:
            raise FlowError(UNAVAILABLE, "The catalogue has not been read yet.", retry_after_ms=1_000)
        if not 1 <= request.limit <= MAX_LIMIT:
            raise FlowError(INVALID_REQUEST, f"limit must be 1 to {MAX_LIMIT}.", fields=("limit",))
        if request.event_id not in live.snapshot.columns.row_of:
            raise FlowError(EVENT_NOT_FOUND)
        return similar_events(live.snapshot, request, self._clock.now_ms())

    def statistics(self) -> dict[str, Any]:
        live = self._live
        return {
            "modelVersion": self.model_version,
            "ranker": "linear" if self._ranker is None else "deep",
            "liveEvents": 0 if live is None else int(live.snapshot.columns.is_open.sum()),
            "rows": 0 if live is None else len(live.snapshot.columns),
            "leftOutEvents": self._left_out + len(self._left_out_since),
            "candidatesDropped": self._dropped,
        }

    def _leave_out(self, event_ids: Iterable[str]) -> None:
        """Each counts once until the next whole reading, `MOST_COUNTED` of them at most."""
        for event_id in event_ids:
            if len(self._left_out_since) < MOST_COUNTED:
                self._left_out_since[event_id] = None

    def _put(self, columns: Columns, vectors: Vectors | None, digests: Any) -> None:
        model = self._model if vectors is not None else None
        if model is None:
            snapshot = Snapshot(columns, vectors, None, None)
        else:
            snapshot = Snapshot(columns, vectors, model.version, self._ranker, self._standing)
        self._live = _Live(snapshot, model, digests)

    def _embedded(self, model: LoadedModel, features: Features, digests: Any, before: _Live | None) -> Vectors:
        """A vector for each row: from the snapshot before or the version's own file where the content is the same."""
        stored = model.stored
        vectors = np.zeros((len(features.ids), stored.vectors.shape[1]), np.float32)
        kept = before if before is not None and before.model is model else None
        missing = []
        for row, event_id in enumerate(features.ids):
            known = None if kept is None else kept.snapshot.columns.row_of.get(event_id)
            if kept is not None and known is not None and kept.digests[known] == digests[row]:
                assert kept.snapshot.vectors is not None
                vectors[row] = kept.snapshot.vectors[known]
                continue
            known = stored.rows.get(event_id)
            if known is not None and stored.digests[known] == digests[row]:
                vectors[row] = stored.vectors[known]
            else:
                missing.append(row)
        for start in range(0, len(missing), EMBEDDING_BATCH):
            batch = missing[start : start + EMBEDDING_BATCH]
            vectors[batch] = model.embed_events(features.take(batch))
        wrong = ~np.isfinite(vectors.sum(axis=1))
        vectors[wrong] = 0.0  # the other sources may still propose it
        self._dropped = int(wrong.sum()) if before is None else self._dropped + int(wrong.sum())
        return vectors


def _is_news(columns: Columns, event: CatalogueEvent, now_ms: int) -> bool:
    """Whether taking it over changes anything: a live event in another form, or a known one that is to be closed."""
    row = columns.row_of.get(event.event_id)
    if row is None:
        return event.end_ms > now_ms and event.is_public
    return columns.events[row] != event


def _queries(model: LoadedModel, requests: Sequence[RecommendationRequest]) -> Vectors:
    """People as they are now. Somebody without a past of their own may be somebody whom training knew."""
    people = [
        ModelPerson(user_id=request.user_id, interests=request.interests, coordinates=request.coordinates)
        for request in requests
    ]
    vectors = model.embed_people(people_features(people), [_likes(request) for request in requests])
    return np.nan_to_num(vectors, posinf=0.0, neginf=0.0)


def _likes(request: RecommendationRequest) -> list[str] | None:
    return [one.event_id for one in request.history if one.weight >= POSITIVE_WEIGHT] or None
