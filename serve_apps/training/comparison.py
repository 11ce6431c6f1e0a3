"""Fits every kind of model to one split and measures them in one table; TensorFlow is imported when it is needed.

Called by `job` and by the command line's dry run, in a thread. Hyper-parameters are chosen on a validation part inside
the training part and never on the test part. What is measured is fitted on the training part; `final` fits a chosen
kind again on everything, because what is newest matters most.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from cluster.kernel.errors import TRAINING_DATA_INVALID, FlowError
from serve_apps import evaluation
from serve_apps.data import Dataset, Interactions
from serve_apps.metrics import CUTOFFS, GATE, Metrics
from serve_apps.models import histories as histories_of
from serve_apps.models.scoring import ScoringModel
from serve_apps.training import factorisation, linear
from serve_apps.training.report import CUT
from serve_apps.training.settings import Progress, TrainingProgress, TrainingSettings
from serve_apps.training.split import liked, split

if TYPE_CHECKING:
    from serve_apps.training.fitting import Fitter
    from serve_apps.two_tower import TwoTower

Parameters = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Split:
    """What is learned from and what should be foreseen; `tuning` is the same cut once more inside the first."""

    train: Interactions
    test: Interactions
    tuning: tuple[Interactions, Interactions]


@dataclass(frozen=True, slots=True)
class Comparison:
    """`results` has a row per kind, `parameters` what was chosen for it; both are empty with too little to split."""

    results: dict[str, Metrics] = field(default_factory=dict)
    parameters: dict[str, Parameters] = field(default_factory=dict)

    def served(self, kind: str) -> Metrics:
        """What was measured of the model that would be served."""
        return self.results.get(CUT if kind == "ease" else kind, {})


def cut(rows: Interactions, settings: TrainingSettings, test: Interactions | None = None) -> Split:
    """By time, or with the `test` part that is given."""
    train = rows
    if test is None:
        train, test = split(rows, settings.test_fraction, settings.split)
    return Split(train, test, split(train, settings.validation_fraction, settings.split))


class Bench:
    """One dataset and everything that is fitted to it."""

    def __init__(self, dataset: Dataset, settings: TrainingSettings, report: Progress) -> None:
        if not len(liked(dataset.interactions)):
            problem = "Nobody liked anything in this data: no interaction counts as positive."
            raise FlowError(TRAINING_DATA_INVALID, problem)
        self.dataset = dataset
        self._settings = settings
        self._report = report
        self._events = len(dataset.events)
        self._fitter: Fitter | None = None

    def can_tune(self, parts: Split) -> bool:
        return bool(np.unique(parts.tuning[1].person).size >= self._settings.min_people_to_split)

    def compare(self, parts: Split) -> Comparison:
        """Every kind of the settings, tuned and measured."""
        comparison = Comparison()
        for kind in self._settings.models:
            self._report(TrainingProgress(f"tuning {kind}"))
            chosen = self.tuned(kind, parts) if self.can_tune(parts) else self.untuned(kind)
            comparison.parameters[kind] = chosen
            if kind == "ease":
                comparison.results.update(self._both_eases(chosen, parts))
                self._report(TrainingProgress(f"measured {CUT}", metrics=comparison.results[CUT]))
            else:
                comparison.results[kind] = self.measure(kind, chosen, parts)
            self._report(TrainingProgress(f"measured {kind}", metrics=comparison.results[kind]))
        return comparison

    def untuned(self, kind: str) -> Parameters:
        """What to take when there is too little data to choose by."""
        middle: dict[str, Parameters] = {
            "item_knn": {"shrinkage": linear.SHRINKAGES[1]},
            "ease": {"l2": linear.EASE_L2[0]},
            "als": factorisation.TRIED[0]._asdict(),
            "two_tower": {"epochs": self._settings.two_tower.epochs_without_split, "l2": linear.EASE_L2[0]},
        }
        return middle.get(kind, {})

    def tuned(self, kind: str, parts: Split) -> Parameters:
        """The parameters with the best NDCG@10 on the validation part."""
        fit_rows, validation = parts.tuning
        tried: list[Parameters] = {
            "item_knn": [{"shrinkage": value} for value in linear.SHRINKAGES],
            "als": [one._asdict() for one in factorisation.TRIED],
        }.get(kind, [{}])
        if kind == "two_tower":
            l2 = self.untuned("ease")["l2"]
            weights = self._ease(fit_rows, l2)
            epochs = self._two_tower().best_epochs(fit_rows, weights, validation, liked(fit_rows))
            return {"epochs": epochs, "l2": l2}
        if kind == "ease":
            return self._tuned_ease(fit_rows, validation)
        if len(tried) == 1:
            return tried[0]
        scores = [
            self._evaluate(self._scorer(self.fit_simple(kind, one, fit_rows), fit_rows), fit_rows, validation, (10,))
            for one in tried
        ]
        return tried[int(np.argmax([score.get(GATE, 0.0) for score in scores]))]

    def _tuned_ease(self, rows: Interactions, validation: Interactions) -> Parameters:
        """Upwards from the middle while that helps, else downwards: a solution is dear, and quality has one hill."""
        found: dict[float, float] = {}

        def quality(l2: float) -> float:
            if l2 not in found:
                scorer = self._scorer(self._dense(rows, l2), rows)
                found[l2] = self._evaluate(scorer, rows, validation, (10,)).get(GATE, 0.0)
            return found[l2]

        ordered = sorted(linear.EASE_L2)
        place = ordered.index(linear.EASE_L2[0])
        for step in (1, -1):
            while 0 <= place + step < len(ordered) and quality(ordered[place + step]) > quality(ordered[place]):
                place += step
        return {"l2": ordered[place]}

    def measure(self, kind: str, parameters: Parameters, parts: Split) -> Metrics:
        """Fitted on the training part, measured on the test part; {} when there is nobody to measure."""
        if not len(liked(parts.train)):
            return {}
        if kind == "two_tower":
            model = self.fit_two_tower(parameters, parts.train, "measuring two_tower")
            histories = histories_of.of_interactions(parts.train, len(self.dataset.people))
            scorer = self._two_tower().scorer(model, histories)
        else:
            scorer = self._scorer(self.fit_simple(kind, parameters, parts.train), parts.train)
        return self._evaluate(scorer, parts.train, parts.test, CUTOFFS)

    def _both_eases(self, parameters: Parameters, parts: Split) -> dict[str, Metrics]:
        """The baseline with all its weights, and the one that can be served."""
        if not len(liked(parts.train)):
            return {"ease": {}, CUT: {}}
        whole = self._dense(parts.train, parameters["l2"])
        cut_down = linear.measured(whole.cut(), "ease")
        return {
            name: self._evaluate(self._scorer(model, parts.train), parts.train, parts.test, CUTOFFS)
            for name, model in (("ease", whole), (CUT, cut_down))
        }

    def fit_two_tower(self, parameters: Parameters, rows: Interactions, stage: str) -> "TwoTower":
        return self._two_tower().fit(rows, self._ease(rows, parameters["l2"]), parameters["epochs"], stage)

    def fit_simple(self, kind: str, parameters: Parameters, rows: Interactions, *, serve: bool = False) -> ScoringModel:
        """`serve` adds the vectors that serving needs beside the weights."""
        histories = histories_of.of_interactions(rows, len(self.dataset.people))
        if kind == "popularity":
            return linear.popularity(histories, self._events)
        if kind == "als":
            chosen = factorisation.AlsParameters(**parameters)
            return factorisation.als(histories, self._events, chosen, self._settings.seed)
        fits: dict[str, Callable[[], linear.Weights]] = {
            "item_knn": lambda: linear.item_knn(histories, self._events, parameters["shrinkage"]),
            "ease": lambda: self._ease(rows, parameters["l2"]),
        }
        weights = fits[kind]()
        if serve:
            return linear.served(weights, kind, 2 * self._settings.two_tower.dimension, self._settings.seed)
        return linear.measured(weights, kind)

    def _ease(self, rows: Interactions, l2: float) -> linear.Weights:
        return self._dense(rows, l2).cut()

    def _dense(self, rows: Interactions, l2: float) -> linear.Dense:
        histories = histories_of.of_interactions(rows, len(self.dataset.people))
        return linear.ease(histories, self._events, l2, self._settings.most_item_to_item)

    def _scorer(self, model: "ScoringModel | linear.Dense", rows: Interactions) -> evaluation.Scorer:
        histories = histories_of.of_interactions(rows, len(self.dataset.people))
        return lambda people: model.scores(histories.take(people))

    def _evaluate(
        self, scorer: evaluation.Scorer, train: Interactions, test: Interactions, cutoffs: tuple[int, ...]
    ) -> Metrics:
        return evaluation.evaluate(scorer, liked(train), test, cutoffs=cutoffs, seed=self._settings.seed)

    def _two_tower(self) -> "Fitter":
        if self._fitter is None:
            from serve_apps.training.fitting import Fitter  # imports TensorFlow

            settings = self._settings
            self._fitter = Fitter(self.dataset, settings.two_tower, settings.seed, settings.threads, self._report)
        return self._fitter
