"""Whether a new model may take over: it must be no worse than the live one, on the same data and the same split.

Called by `job`. Two ways, the first that the data allows. With enough likes newer than all the live version was made
of, that version itself and the new one's recipe, fitted on exactly what the live one knew, foresee the newer likes from
the same histories. Else both recipes are fitted to the same training part and foresee the same test part: measuring a
version on rows it was fitted to would flatter it.
"""

from typing import Any

import numpy as np

from cluster.kernel.errors import FlowError
from serve_apps import evaluation
from serve_apps.data import Dataset, Interactions, Rows
from serve_apps.features import event_features, people_features
from serve_apps.metrics import Metrics
from serve_apps.models import histories as histories_of
from serve_apps.models.histories import LONGEST
from serve_apps.models.reader import ServedModel
from serve_apps.registry import Gate, Manifest
from serve_apps.training.comparison import Bench, Comparison, Split, cut
from serve_apps.training.settings import RetrainingSettings, TrainingSettings
from serve_apps.training.split import liked


class Challenge:
    """One new model, `kind` with its chosen parameters, against the live version."""

    def __init__(
        self, bench: Bench, parts: Split, comparison: Comparison, kind: str, settings: TrainingSettings
    ) -> None:
        self._bench = bench
        self._parts = parts
        self._comparison = comparison
        self._kind = kind
        self._settings = settings

    def judged(self, live: Manifest | None, model: ServedModel | FlowError | None, rules: RetrainingSettings) -> Gate:
        """`model` is the live version in memory, or why it cannot be."""
        if live is None:
            return Gate(passed=True, reason="Nothing was live.")
        if isinstance(model, FlowError):
            return Gate(passed=True, reason=f"The live version cannot be loaded: {model.message}")
        newer = self._newer_than(live)
        if newer is not None and model is not None:
            ours = self._bench.measure(self._kind, self._comparison.parameters[self._kind], newer)
            rows = newer.train
            scorer = served_scorer(self._bench.dataset, model, rows)
            theirs = evaluation.evaluate(scorer, liked(rows), newer.test, seed=self._settings.seed)
            return verdict(ours, theirs, live.version, rules, "on the likes that are newer than the live version")
        ours = self._comparison.served(self._kind)
        return verdict(ours, self._recipe(live), live.version, rules, "as recipes on the same split")

    def _newer_than(self, live: Manifest) -> Split | None:
        """What the live version was made of, and the likes after it; None when they are too few to judge by."""
        horizon = live.parameters.get("newestMs")
        rows = self._bench.dataset.interactions
        if not isinstance(horizon, int):
            return None
        known = rows.at_ms <= horizon
        test = liked(rows.take(~known))
        parts = cut(rows.take(known), self._settings, test)
        counted = np.intersect1d(test.person, liked(parts.train).person).size
        return parts if counted >= self._settings.min_people_to_split else None

    def _recipe(self, live: Manifest) -> Metrics:
        recipe: dict[str, Any] = live.parameters.get("recipe") or self._comparison.parameters.get(live.kind, {})
        if recipe == self._comparison.parameters.get(live.kind) and live.kind in self._comparison.results:
            return self._comparison.served(live.kind)
        return self._bench.measure(live.kind, recipe or self._bench.untuned(live.kind), self._parts)


def verdict(ours: Metrics, theirs: Metrics, live: str, rules: RetrainingSettings, how: str) -> Gate:
    """Passed when every metric of the gate is at least `1 - gate_tolerance` times the live one's."""
    missing = [name for name in rules.gate_metrics if name not in ours or name not in theirs]
    if missing:
        return Gate(passed=False, reason=f"Too little data to measure {', '.join(missing)}.", compared_with=live)
    worse = [name for name in rules.gate_metrics if ours[name] < theirs[name] * (1 - rules.gate_tolerance)]
    named = worse or rules.gate_metrics
    numbers = ", ".join(f"{name} {ours[name]:.4f} against {theirs[name]:.4f}" for name in named)
    word = "worse than" if worse else "no worse than"
    return Gate(passed=not worse, reason=f"It is {word} {live} {how}: {numbers}.", compared_with=live)


def served_scorer(dataset: Dataset, model: ServedModel, rows: Interactions) -> evaluation.Scorer:
    """Scores as the version gives them when it is served, with the histories of `rows`."""
    histories = histories_of.of_interactions(rows, len(dataset.people))
    ids = [event.event_id for event in dataset.events]
    events = model.embed_events(event_features(dataset.events))

    def scores(people: Rows) -> evaluation.Scores:
        features = people_features([dataset.people[person] for person in people.tolist()])
        newest = histories.take(people).newest(LONGEST)
        past = [[ids[row - 1] for row in history if row] for history in newest.tolist()]
        return model.embed_people(features, past) @ events.T

    return scores
