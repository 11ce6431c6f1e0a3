"""The four stages, for a batch of people at once: retrieve, filter, rank, arrange; then say why.

Called by the engine in the answering thread, with a snapshot that does not change under it. It promises an answer to
every request: a source that has no time left is skipped, a ranker of somebody else's that fails is replaced by Flow's
own, and the answer says so. It never returns an event that is over, hidden, full, excluded, too far or a blocked
organizer's.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from serve_apps.contracts import CatalogueView, RankingBatch, RecommendationAnswer, RecommendationRequest, ScoredEvent
from serve_apps.experiments.definition import Experiment
from serve_apps.geography import distances_km
from serve_apps.guarded import PluginFailed
from serve_apps.pipeline.columns import NO_ROWS, Columns, Flags, Floats, Rows
from serve_apps.pipeline.plugins import Brought, Plugins
from serve_apps.pipeline.post_ranking import adjusted, arranged
from serve_apps.pipeline.rankers import DeepRanker, LinearRanker
from serve_apps.pipeline.ranking_features import NAMES, Taste, feature_matrix, taste
from serve_apps.pipeline.reasons import reasons
from serve_apps.pipeline.settings import PipelineSettings
from serve_apps.pipeline.sources import SOURCES, Looking
from serve_apps.pipeline.standing import Standing
from serve_apps.pipeline.treatments import Treatment, treatment

RETRIEVAL_SHARE: Final = 0.5
PLUGIN_SHARE: Final = 0.7
"""By these parts of the deadline retrieval must be over, and somebody else's ranker must have answered."""
RERANKED: Final = 100


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What one batch reads: the events, the live model's vectors and ranker. Always of one version.

    `standing` is what scores are measured by; None leaves them as they are.
    """

    columns: Columns
    vectors: Floats | None
    version: str | None
    ranker: DeepRanker | None
    standing: Standing | None = None


@dataclass(slots=True)
class _Work:
    """One request on its way through the stages."""

    request: RecommendationRequest
    taste: Taste
    treatment: Treatment
    allowed: Flags
    tower: Floats | None
    alike: Floats | None
    rows: Rows = field(default_factory=lambda: NO_ROWS)
    sources: dict[int, set[str]] = field(default_factory=dict)
    degraded: set[str] = field(default_factory=set)
    features: Floats | None = None
    scores: Floats = field(default_factory=lambda: np.zeros(0, np.float32))
    ranker: str = ""


class Pipeline:
    """One of a replica; `answer` is called from one thread."""

    def __init__(
        self,
        settings: PipelineSettings,
        plugins: Plugins,
        experiments: Sequence[Experiment] = (),
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._plugins = plugins
        self.experiments = tuple(experiments)
        self._monotonic = monotonic
        self._linear = LinearRanker()

    def answer(
        self,
        snapshot: Snapshot,
        requests: Sequence[RecommendationRequest],
        queries: Floats | None,
        now_ms: int,
        until: float,
    ) -> list[RecommendationAnswer]:
        """`queries` are the people's vectors, None without a model; `until` is the monotonic second to be done by."""
        started = self._monotonic()
        spare = max(0.0, until - started)
        work = self._begun(snapshot, requests, queries, now_ms)
        for one in work:
            self._retrieve(snapshot, one, now_ms, started + spare * RETRIEVAL_SHARE)
        self._rank(snapshot, work, now_ms, started + spare * PLUGIN_SHARE)
        return [self._arranged(snapshot, one, now_ms, until) for one in work]

    def _begun(
        self, snapshot: Snapshot, requests: Sequence[RecommendationRequest], queries: Floats | None, now_ms: int
    ) -> list[_Work]:
        columns, vectors = snapshot.columns, snapshot.vectors
        tastes = [taste(request, columns) for request in requests]
        open_rows = columns.open_at(now_ms)
        towers: Floats | None = None
        likes: dict[int, Floats] = {}
        if vectors is not None and queries is not None:
            # Both looks of everybody in one multiplication: the vectors are read from memory once.
            liked = [index for index, one in enumerate(tastes) if one.liked_rows.size]
            looks = np.concatenate((queries, _means(vectors, [tastes[index] for index in liked])))
            scores = looks @ vectors.T
            if snapshot.standing is not None:
                scores = snapshot.standing.of(looks, scores)
            towers = scores[: len(requests)]
            likes = {index: scores[len(requests) + place] for place, index in enumerate(liked)}
        return [
            _Work(
                request=request,
                taste=tastes[index],
                treatment=treatment(self.experiments, request, now_ms),
                allowed=_allowed(columns, open_rows, request),
                tower=None if towers is None else towers[index],
                alike=likes.get(index),
            )
            for index, request in enumerate(requests)
        ]

    def _retrieve(self, snapshot: Snapshot, one: _Work, now_ms: int, until: float) -> None:
        look = Looking(one.request, snapshot.columns, one.allowed, one.tower, one.alike, now_ms)
        found: list[Rows] = []
        for name, source in SOURCES.items():
            quota = self._settings.sources[name]
            if quota == 0:
                continue
            if self._monotonic() > until:
                one.degraded.add(name)
                continue
            self._keep(one, found, name, source(look, quota).rows)
        for brought in self._plugins.retrievers:
            view = CatalogueView(snapshot.columns.events, one.allowed, snapshot.vectors, now_ms)
            try:
                retrieved = self._plugins.retrieve(brought, one.request, view, until - self._monotonic())
            except PluginFailed:
                one.degraded.add(brought.name)
                continue
            rows = np.asarray(retrieved.rows, np.int64)
            self._keep(one, found, brought.name, rows[one.allowed[rows]])
        if found:
            one.rows = np.unique(np.concatenate(found))

    @staticmethod
    def _keep(one: _Work, found: list[Rows], name: str, rows: Rows) -> None:
        found.append(rows)
        for row in rows.tolist():
            one.sources.setdefault(row, set()).add(name)

    def _rank(self, snapshot: Snapshot, work: list[_Work], now_ms: int, until: float) -> None:
        """By the ranker that each one's treatment names; everybody of one ranker in one call."""
        groups: dict[str, tuple[Brought | None, list[_Work]]] = {}
        for one in work:
            if one.rows.size == 0:
                continue
            one.features = feature_matrix(
                one.request, one.taste, snapshot.columns, one.rows, _at(one.tower, one), _at(one.alike, one), now_ms
            )
            wanted = one.treatment.ranker
            brought = None if wanted in ("linear", "deep") else self._plugins.ranker(wanted)
            name = brought.name if brought is not None else self._own(snapshot, wanted)
            groups.setdefault(name, (brought, []))[1].append(one)
        for name, (brought, members) in groups.items():
            self._rank_group(snapshot, name, brought, members, until)

    @staticmethod
    def _own(snapshot: Snapshot, wanted: str | None) -> str:
        return "linear" if snapshot.ranker is None or wanted == "linear" else "deep"

    def _rank_group(
        self, snapshot: Snapshot, name: str, brought: Brought | None, members: list[_Work], until: float
    ) -> None:
        batch = _batch(snapshot.columns, members)
        scores: Floats | None = None
        if brought is not None:
            try:
                scores = self._plugins.rank(brought, batch, until - self._monotonic())
            except PluginFailed:
                for one in members:
                    one.degraded.add(name)
                name = self._own(snapshot, None)
        if scores is None:
            own = snapshot.ranker if name == "deep" and snapshot.ranker is not None else self._linear
            scores = np.nan_to_num(own.rank(batch))
        start = 0
        for one in members:
            one.scores, one.ranker = scores[start : start + one.rows.size], name
            start += one.rows.size

    def _arranged(self, snapshot: Snapshot, one: _Work, now_ms: int, until: float) -> RecommendationAnswer:
        columns, limit = snapshot.columns, one.request.limit
        places: Sequence[int] = ()
        scores = one.scores
        if one.rows.size:
            scores = adjusted(one.scores, columns, one.rows, now_ms, self._settings)
            settings = self._settings
            if one.treatment.diversity is not None:
                settings = settings.model_copy(update={"diversity": min(1.0, max(0.0, one.treatment.diversity))})
            places = arranged(columns, snapshot.vectors, one.rows, scores, max(limit, RERANKED), settings)
            places = self._reranked(columns, one, places, scores, until)[:limit]
        events = tuple(
            ScoredEvent(
                columns.events[row := int(one.rows[place])].event_id,
                float(scores[place]),
                tuple(sorted(one.sources[row])),
                reasons(one.request, one.taste, columns, row, frozenset(one.sources[row]), now_ms),
            )
            for place in places
        )
        return RecommendationAnswer(
            events=events,
            model_version=snapshot.version,
            fallback=snapshot.version is None or bool(one.degraded),
            ranker=one.ranker,
            degraded=tuple(sorted(one.degraded)),
            exposures=() if one.degraded or not events else one.treatment.exposures,
        )

    def _reranked(
        self, columns: Columns, one: _Work, places: Sequence[int], scores: Floats, until: float
    ) -> Sequence[int]:
        brought = self._plugins.reranker(one.treatment.reranker)
        if brought is None or not places:
            return places
        events = [columns.events[int(one.rows[place])] for place in places]
        given = scores[list(places)]
        try:
            chosen = self._plugins.rerank(
                brought, one.request, events, given, one.request.limit, until - self._monotonic()
            )
        except PluginFailed:
            one.degraded.add(brought.name)
            return places
        return [places[place] for place in chosen]


def _means(vectors: Floats, tastes: Sequence[Taste]) -> Floats:
    means = [vectors[one.liked_rows].mean(axis=0) for one in tastes]
    return np.array(means, np.float32).reshape(len(means), vectors.shape[1])


def _at(scores: Floats | None, one: _Work) -> Floats:
    return np.zeros(one.rows.size, np.float32) if scores is None else scores[one.rows]


def _batch(columns: Columns, members: Sequence[_Work]) -> RankingBatch:
    rows = np.concatenate([one.rows for one in members])
    person = np.repeat(np.arange(len(members)), [one.rows.size for one in members])
    return RankingBatch(
        features=np.concatenate([one.features for one in members if one.features is not None]),
        names=NAMES,
        person=person,
        requests=[one.request for one in members],
        events=[columns.events[row] for row in rows.tolist()],
    )


def _allowed(columns: Columns, open_rows: Flags, request: RecommendationRequest) -> Flags:
    """What may be recommended to this person."""
    allowed = open_rows.copy()
    allowed[columns.rows(request.exclude_event_ids)] = False
    own = columns.organizers.get(request.user_id)
    hidden = [columns.organizers.get(organizer) for organizer in request.blocked_organizer_ids]
    codes = [code for code in (own, *hidden) if code is not None]
    if codes:
        allowed &= ~np.isin(columns.organizer, codes)
    if request.radius_km is not None and request.coordinates is not None:
        distances = distances_km(request.coordinates, columns.longitude, columns.latitude)
        allowed &= ~(distances > request.radius_km)
    return allowed
