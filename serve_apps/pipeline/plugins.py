"""Stages that an ML engineer brought: found by their import path, made once, called behind a guard.

Used by a replica when it starts and by the pipeline for every batch. A plugin that cannot be made is refused at start
with a sentence; one that fails while it serves is replaced by the stage that comes with Flow, and the answer is marked.
"""

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

import numpy as np

from cluster.kernel.errors import SETTINGS_INVALID, FlowError
from serve_apps.contracts import (
    CatalogueEvent,
    CatalogueView,
    Matcher,
    Ranker,
    RankingBatch,
    RecommendationRequest,
    ReRanker,
    Retrieved,
    Retriever,
)
from serve_apps.guarded import Guarded
from serve_apps.pipeline.columns import Floats
from serve_apps.pipeline.settings import Plugin

METHODS: Final = {"retriever": "retrieve", "ranker": "rank", "reranker": "rerank", "matcher": "match"}


@dataclass(frozen=True, slots=True)
class Brought:
    """One plugin, made."""

    settings: Plugin
    stage: Any

    @property
    def name(self) -> str:
        return str(self.stage.name)

    @property
    def seconds(self) -> float:
        return self.settings.deadline_ms / 1000


def make(plugin: Plugin) -> Brought:
    """Raises FlowError SETTINGS_INVALID for a class that is not there, cannot be made or lacks its stage's method."""
    module_name, _, class_name = plugin.path.partition(":")
    try:
        stage = getattr(importlib.import_module(module_name), class_name)(**plugin.arguments)
    except Exception as error:
        raise FlowError(
            SETTINGS_INVALID, f"The {plugin.kind} {plugin.path} cannot be made: {type(error).__name__}: {error}"
        ) from error
    method = METHODS[plugin.kind]
    if not callable(getattr(stage, method, None)):
        raise FlowError(SETTINGS_INVALID, f"{plugin.path} has no method {method}, which a {plugin.kind} must have.")
    if not isinstance(getattr(stage, "name", None), str) or not stage.name:
        raise FlowError(SETTINGS_INVALID, f"{plugin.path} has no name; give it an attribute `name`.")
    return Brought(plugin, stage)


class Plugins:
    """Everything that was brought, by kind; calls go through one guard."""

    def __init__(self, plugins: Sequence[Plugin], guard: Guarded) -> None:
        made = [make(plugin) for plugin in plugins]
        names = [one.name for one in made]
        if len(set(names)) < len(names):
            raise FlowError(SETTINGS_INVALID, "Two plugins have the same name.")
        self._guard = guard
        self.retrievers = tuple(one for one in made if one.settings.kind == "retriever" and one.settings.live)
        self._rankers = {one.name: one for one in made if one.settings.kind == "ranker"}
        self._rerankers = {one.name: one for one in made if one.settings.kind == "reranker"}
        matchers = [one.stage for one in made if one.settings.kind == "matcher" and one.settings.live]
        self.matcher = cast("Matcher | None", matchers[0] if matchers else None)

    def ranker(self, wanted: str | None) -> Brought | None:
        """The one an experiment names, else the first live one; None when the ranker is Flow's own."""
        return _chosen(self._rankers, wanted)

    def reranker(self, wanted: str | None) -> Brought | None:
        return _chosen(self._rerankers, wanted)

    def retrieve(self, one: Brought, request: RecommendationRequest, view: CatalogueView, seconds: float) -> Retrieved:
        """Raises PluginFailed."""
        retriever: Retriever = one.stage
        limit = one.settings.quota
        return self._guard.run(
            one.name,
            lambda: retriever.retrieve(request, view, limit),
            min(seconds, one.seconds),
            lambda found: wrong_rows(found, len(view.events), limit),
        )

    def rank(self, one: Brought, batch: RankingBatch, seconds: float) -> Floats:
        """Raises PluginFailed."""
        ranker: Ranker = one.stage
        size = len(batch.features)
        found = self._guard.run(
            one.name, lambda: ranker.rank(batch), min(seconds, one.seconds), lambda scores: wrong_scores(scores, size)
        )
        return np.asarray(found, np.float32)

    def rerank(
        self,
        one: Brought,
        request: RecommendationRequest,
        events: Sequence[CatalogueEvent],
        scores: Floats,
        limit: int,
        seconds: float,
    ) -> list[int]:
        """Raises PluginFailed."""
        reranker: ReRanker = one.stage
        found = self._guard.run(
            one.name,
            lambda: reranker.rerank(request, events, scores, limit),
            min(seconds, one.seconds),
            lambda places: wrong_places(places, len(events), limit),
        )
        return [int(place) for place in found]

    def statistics(self) -> dict[str, Any]:
        return self._guard.statistics()


def _chosen(known: dict[str, Brought], wanted: str | None) -> Brought | None:
    if wanted is not None:
        return known.get(wanted)
    return next((one for one in known.values() if one.settings.live), None)


def wrong_scores(scores: Any, size: int) -> str | None:
    """What is wrong with a ranker's answer; None when nothing is."""
    array = np.asarray(scores)
    if array.shape != (size,):
        return f"it gave scores of the shape {array.shape} for {size} rows"
    if not np.issubdtype(array.dtype, np.number) or not np.isfinite(array).all():
        return "a score is not a finite number"
    return None


def wrong_rows(found: Any, size: int, limit: int) -> str | None:
    """The same for a retriever's."""
    rows, scores = np.asarray(found.rows), np.asarray(found.scores)
    if rows.ndim != 1 or rows.shape != scores.shape:
        return f"it gave {rows.shape} rows with {scores.shape} scores"
    if rows.size > limit:
        return f"it gave {rows.size} events where at most {limit} were asked for"
    if rows.size == 0:
        return None
    if not np.issubdtype(rows.dtype, np.integer) or rows.min() < 0 or rows.max() >= size:
        return "a row is not one of the catalogue's"
    if np.unique(rows).size < rows.size:
        return "a row comes twice"
    return None if np.isfinite(scores).all() else "a score is not a finite number"


def wrong_places(places: Any, size: int, limit: int) -> str | None:
    """The same for a re-ranker's."""
    listed = list(places)
    if len(listed) > limit or len(set(listed)) < len(listed):
        return f"it gave {len(listed)} places where at most {limit} different ones were asked for"
    if not all(0 <= int(place) < size for place in listed):
        return "a place is not one of the events it was given"
    return None if listed or size == 0 else "it left out everything"
