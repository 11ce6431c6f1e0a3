"""The four stages, for a batch of people at once: retrieve, filter, rank, arrange; then say why.

Called by the engine in the answering thread, with a snapshot that does not change under it. It promises an answer to
every request: a source that has no time left is skipped, a ranker of somebody else's that fails is replaced by Flow's
own, and the answer says so. It never returns an event that is over, hidden, full, excluded, too far or a blocked
organizer's, whatever kind is asked for. The kinds differ in two stages: what they retrieve, and what puts it in order.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from serve_apps.contracts import (
    CatalogueView,
    Filler,
    RankingBatch,
    RecommendationAnswer,
    RecommendationRequest,
    ScoredEvent,
)
from serve_apps.experiments.definition import Experiment
from serve_apps.geography import distances_km
from serve_apps.guarded import PluginFailed
from serve_apps.pipeline.columns import NO_ROWS, Columns, Flags, Floats, Rows
from serve_apps.pipeline.kinds import KIND_QUOTA, KINDS, Kind
from serve_apps.pipeline.neighbourhood import rows_around
from serve_apps.pipeline.plugins import Brought, Plugins
from serve_apps.pipeline.post_ranking import adjusted, arranged
from serve_apps.pipeline.rankers import DeepRanker, LinearRanker
from serve_apps.pipeline.ranking_features import NAMES, Taste, feature_matrix, taste
from serve_apps.pipeline.reasons import reasons
from serve_apps.pipeline.settings import PipelineSettings
from serve_apps.pipeline.sources import FILLERS, SOURCES, Looking, Sight
from serve_apps.pipeline.standing import Standing
from serve_apps.pipeline.treatments import Treatment, treatment
from serve_apps.retrieval import Scored, scored

RETRIEVAL_SHARE: Final = 0.5
PLUGIN_SHARE: Final = 0.7
"""By these parts of the deadline retrieval must be over, and somebody else's ranker must have answered."""
RERANKED: Final = 100
BELOW: Final = np.float32(10_000.0)
"""What fills up scores so much less than what was asked for: more than any rule can lift."""


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
    """One request on its way through the stages. `fresh` are candidates that are new, the best first."""

    look: Looking
    kind: Kind
    treatment: Treatment
    rows: Rows = field(default_factory=lambda: NO_ROWS)
    sources: dict[str, frozenset[int]] = field(default_factory=dict)
    degraded: set[str] = field(default_factory=set)
    fresh: Rows = field(default_factory=lambda: NO_ROWS)
    features: Floats | None = None
    scores: Floats = field(default_factory=lambda: np.zeros(0, np.float32))
    ranker: str = ""

    @property
    def request(self) -> RecommendationRequest:
        return self.look.request

    def keep(self, name: str, rows: Rows) -> None:
        self.sources[name] = self.sources.get(name, frozenset()).union(rows.tolist())

    def sources_of(self, row: int) -> tuple[str, ...]:
        """The names of those that proposed it."""
        return tuple(name for name in sorted(self.sources) if row in self.sources[name])


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
        self._as_ordered = settings.model_copy(update={"diversity": 0.0, "freshness": 0.0, "fresh_every": 0})
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
        """`queries` are the vectors of those who ask for the personal kind, in their order; None without a model.
        `until` is the monotonic second to be done by."""
        started = self._monotonic()
        spare = max(0.0, until - started)
        work = self._begun(snapshot, requests, queries, now_ms)
        for one in work:
            if one.kind.source is None:
                self._retrieve(snapshot, one, started + spare * RETRIEVAL_SHARE)
            else:
                self._draw(one, one.kind.source, started + spare * RETRIEVAL_SHARE)
        self._rank(snapshot, [one for one in work if one.kind.source is None], started + spare * PLUGIN_SHARE)
        return [self._arranged(snapshot, one, until) for one in work]

    def _begun(
        self, snapshot: Snapshot, requests: Sequence[RecommendationRequest], queries: Floats | None, now_ms: int
    ) -> list[_Work]:
        columns, vectors = snapshot.columns, snapshot.vectors
        tastes = [taste(request, columns) for request in requests]
        open_rows = columns.open_at(now_ms)
        most_open = int(np.count_nonzero(open_rows))
        towers: dict[int, Sight] = {}
        likes: dict[int, Sight] = {}
        if vectors is not None and queries is not None:
            # Both looks of everybody in one multiplication: the vectors are read from memory once.
            personal = [index for index, request in enumerate(requests) if KINDS[request.kind].source is None]
            liked = [index for index in personal if tastes[index].liked_rows.size]
            looks = np.concatenate((queries, _means(vectors, [tastes[index] for index in liked])))
            sights = _sights(snapshot.standing, looks, scored(looks, vectors, open_rows))
            towers = dict(zip(personal, sights, strict=False))
            likes = dict(zip(liked, sights[len(personal) :], strict=True))
        allowed = [_allowed(columns, open_rows, request) for request in requests]
        return [
            _Work(
                look=Looking(
                    request=request,
                    taste=tastes[index],
                    columns=columns,
                    allowed=allowed[index],
                    forbidden=most_open - int(np.count_nonzero(allowed[index])),
                    tower=towers.get(index),
                    alike=likes.get(index),
                    now_ms=now_ms,
                ),
                kind=KINDS[request.kind],
                treatment=treatment(self.experiments, request, now_ms),
            )
            for index, request in enumerate(requests)
        ]

    def _retrieve(self, snapshot: Snapshot, one: _Work, until: float) -> None:
        """From every source, for the ranker."""
        for name, source in SOURCES.items():
            quota = self._settings.sources[name]
            if quota == 0:
                continue
            if self._monotonic() > until:
                one.degraded.add(name)
                continue
            rows = source(one.look, quota).rows
            one.keep(name, rows)
            if name == "fresh":
                one.fresh = rows
        for brought in self._plugins.retrievers:
            view = CatalogueView(snapshot.columns.events, one.look.allowed, snapshot.vectors, one.look.now_ms)
            try:
                retrieved = self._plugins.retrieve(brought, one.request, view, until - self._monotonic())
            except PluginFailed:
                one.degraded.add(brought.name)
                continue
            rows = np.asarray(retrieved.rows, np.int64)
            one.keep(brought.name, rows[one.look.allowed[rows]])
        proposed = frozenset().union(*one.sources.values())
        one.rows = np.sort(np.fromiter(proposed, np.int64, len(proposed)))

    def _draw(self, one: _Work, source: str, until: float) -> None:
        """From the kind's one source, which is its ranker too."""
        if self._monotonic() > until:
            one.degraded.add(source)
            return
        one.rows = SOURCES[source](one.look, KIND_QUOTA).rows
        one.keep(source, one.rows)
        one.scores, one.ranker = _by_place(one.rows), source

    def _rank(self, snapshot: Snapshot, work: list[_Work], until: float) -> None:
        """By the ranker that each one's treatment names; everybody of one ranker in one call."""
        groups: dict[str, tuple[Brought | None, list[_Work]]] = {}
        for one in work:
            if one.rows.size == 0:
                continue
            look = one.look
            one.features = feature_matrix(
                one.request,
                look.taste,
                snapshot.columns,
                one.rows,
                _at(look.tower, one),
                _at(look.alike, one),
                look.now_ms,
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
        features = np.concatenate([one.features for one in members if one.features is not None])
        scores: Floats | None = None
        if brought is not None:
            try:
                batch = _batch(snapshot.columns, members, features)
                scores = self._plugins.rank(brought, batch, until - self._monotonic())
            except PluginFailed:
                for one in members:
                    one.degraded.add(name)
                name = self._own(snapshot, None)
        if scores is None:
            own = snapshot.ranker if name == "deep" and snapshot.ranker is not None else self._linear
            scores = np.nan_to_num(own.scores(features))
        start = 0
        for one in members:
            one.scores, one.ranker = scores[start : start + one.rows.size], name
            start += one.rows.size

    def _arranged(self, snapshot: Snapshot, one: _Work, until: float) -> RecommendationAnswer:
        columns, limit, is_personal = snapshot.columns, one.request.limit, one.kind.source is None
        settings = self._settings if is_personal else self._as_ordered
        if one.treatment.diversity is not None:
            settings = settings.model_copy(update={"diversity": min(1.0, max(0.0, one.treatment.diversity))})
        scores = adjusted(one.scores, columns, one.rows, one.look.now_ms, settings)
        fillers, below = self._filled(one, limit - int((scores > -np.inf).sum()), settings)
        rows, scores = np.concatenate((one.rows, np.array(list(fillers), np.int64))), np.concatenate((scores, below))
        reranker = self._reranker(one)
        most = limit if reranker is None else max(limit, RERANKED)
        places = arranged(columns, snapshot.vectors, rows, scores, most, settings, one.fresh)
        if reranker is not None:
            places = self._reranked(one, reranker, places, scores, until)[:limit]
        events = tuple(
            self._scored(one, row, score, fillers.get(row))
            for row, score in zip(rows[list(places)].tolist(), scores[list(places)].tolist(), strict=True)
        )
        return RecommendationAnswer(
            events=events,
            model_version=snapshot.version if is_personal else None,
            fallback=bool(one.degraded) or (is_personal and snapshot.version is None),
            ranker=one.ranker,
            degraded=tuple(sorted(one.degraded)),
            exposures=() if one.degraded or not events else one.treatment.exposures,
        )

    @staticmethod
    def _scored(one: _Work, row: int, score: float, filler: Filler | None) -> ScoredEvent:
        sources = one.sources_of(row)
        why = reasons(one.look, row, sources)
        return ScoredEvent(one.look.columns.events[row].event_id, score, sources or (filler or "",), why, filler)

    @staticmethod
    def _filled(one: _Work, missing: int, settings: PipelineSettings) -> tuple[dict[int, Filler], Floats]:
        """Rows that fill up a list that is too short, which filler gave each, and scores: below all others."""
        found: dict[int, Filler] = {}
        for name in one.kind.fillers:
            if len(found) >= missing:
                break
            for row in FILLERS[name](one.look, KIND_QUOTA).rows.tolist():
                if not one.sources_of(row):
                    found.setdefault(row, name)
        rows = np.array(list(found), np.int64)
        return found, adjusted(_by_place(rows), one.look.columns, rows, one.look.now_ms, settings) - BELOW

    def _reranker(self, one: _Work) -> Brought | None:
        """The order of a kind that is not the personal one is left to it, unless an experiment says otherwise."""
        wanted = one.treatment.reranker
        return self._plugins.reranker(wanted) if wanted is not None or one.kind.source is None else None

    def _reranked(
        self, one: _Work, brought: Brought, places: Sequence[int], scores: Floats, until: float
    ) -> Sequence[int]:
        """What fills up stays below."""
        own = [place for place in places if place < one.rows.size]
        if not own:
            return places
        events = [one.look.columns.events[int(one.rows[place])] for place in own]
        try:
            chosen = self._plugins.rerank(
                brought, one.request, events, scores[own], one.request.limit, until - self._monotonic()
            )
        except PluginFailed:
            one.degraded.add(brought.name)
            return places
        return [*(own[place] for place in chosen), *(place for place in places if place >= one.rows.size)]


def _by_place(rows: Rows) -> Floats:
    """Scores of what is in order already."""
    return -np.arange(rows.size, dtype=np.float32)


def _means(vectors: Floats, tastes: Sequence[Taste]) -> Floats:
    means = [vectors[one.liked_rows].mean(axis=0) for one in tastes]
    return np.array(means, np.float32).reshape(len(means), vectors.shape[1])


def _sights(standing: Standing | None, looks: Floats, found: Scored) -> list[Sight]:
    mean, spread = np.zeros(len(looks), np.float32), np.ones(len(looks), np.float32)
    if standing is not None:
        mean, spread = standing.scale(looks)
    return [Sight(*one) for one in zip(found.scores, found.tops, mean, spread, strict=True)]


def _at(sight: Sight | None, one: _Work) -> Floats:
    return np.zeros(one.rows.size, np.float32) if sight is None else sight.at(one.rows)


def _batch(columns: Columns, members: Sequence[_Work], features: Floats) -> RankingBatch:
    rows = np.concatenate([one.rows for one in members])
    person = np.repeat(np.arange(len(members)), [one.rows.size for one in members])
    return RankingBatch(
        features=features,
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
        rows = rows_around(columns, request.coordinates, request.radius_km)
        distances = distances_km(request.coordinates, columns.longitude[rows], columns.latitude[rows])
        is_far = np.isfinite(columns.longitude)
        is_far[rows[distances <= request.radius_km]] = False
        allowed &= ~is_far
    return allowed
