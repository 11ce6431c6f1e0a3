"""Fits two-tower models to rows of one dataset; imports TensorFlow.

Called by `comparison` in the training thread. A like is foreseen from the likes before it, never from a later one. Two
fits with the same seed and rows differ only by the rounding of parallel sums.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from serve_apps import evaluation
from serve_apps.data import Dataset, Interactions
from serve_apps.features import event_features, people_features
from serve_apps.metrics import GATE
from serve_apps.models import histories as histories_of
from serve_apps.models.histories import LONGEST, Histories
from serve_apps.tensorflow_setup import bound_threads, tf
from serve_apps.training.beginning import begin
from serve_apps.training.linear import Weights
from serve_apps.training.settings import Progress, TrainingProgress, TwoTowerSettings
from serve_apps.two_tower import Shape, Start, TwoTower

_NEGATIVES_SHARE = 4
"""One event drawn at random for so many likes of a batch."""


class Fitter:
    """Holds the features of one dataset; every fit starts from the weights of the linear model it is given."""

    def __init__(self, dataset: Dataset, settings: TwoTowerSettings, seed: int, threads: int, report: Progress) -> None:
        bound_threads(threads)
        self._settings = settings
        self._seed = seed
        self._report = report
        self._people = people_features(dataset.people)
        self._events = event_features(dataset.events)

    def fit(self, rows: Interactions, weights: Weights, epochs: int, stage: str) -> TwoTower:
        """A model fitted for exactly `epochs`."""
        run = self._run(rows, weights)
        for epoch in range(epochs):
            run.epoch()
            self._report(TrainingProgress(stage, epoch + 1, epochs))
        return run.model

    def best_epochs(self, rows: Interactions, weights: Weights, validation: Interactions, seen: Interactions) -> int:
        """How many epochs give the best NDCG@10 on `validation`; gives up after `patience` without a better one."""
        settings = self._settings
        run = self._run(rows, weights)
        best, best_epoch = -1.0, 1
        for epoch in range(1, settings.max_epochs + 1):
            run.epoch()
            metrics = evaluation.evaluate(
                self.scorer(run.model, run.histories), seen, validation, cutoffs=(10,), seed=self._seed
            )
            self._report(TrainingProgress("tuning two_tower", epoch, settings.max_epochs, metrics))
            if metrics.get(GATE, 0.0) > best:
                best, best_epoch = metrics.get(GATE, 0.0), epoch
            elif epoch - best_epoch >= settings.patience:
                break
        return best_epoch

    @staticmethod
    def scorer(model: TwoTower, histories: Histories) -> evaluation.Scorer:
        """All events' scores for people, with the vectors that the model has now."""
        events = model.event_vectors()
        return lambda people: model.person_vectors(histories.take(people).newest(LONGEST), people) @ events.T

    def _run(self, rows: Interactions, weights: Weights) -> "_Run":
        settings = self._settings
        tf.keras.backend.clear_session()
        tf.keras.utils.set_random_seed(self._seed)
        histories = histories_of.of_interactions(rows, len(self._people.ids))
        events = len(self._events.ids)
        # How likely an event is to be a candidate of a batch: as somebody's like, or drawn at random.
        likes = np.bincount(histories.rows, minlength=events) / max(histories.rows.size, 1)
        probabilities = (likes * _NEGATIVES_SHARE + 1 / events) / (_NEGATIVES_SHARE + 1)
        shape = Shape(settings.scale, settings.decay, settings.history_drop, settings.id_drop, settings.l2)
        start = Start(*begin(weights, histories, self._events, settings.dimension, self._seed))
        model = TwoTower(self._people, self._events, start, probabilities.astype(np.float32), shape)
        model.compile(optimizer=tf.keras.optimizers.legacy.Adam(settings.learning_rate))
        return _Run(model, histories, events, settings, self._seed)


class _Run:
    """One model being fitted; batches are cut from a fresh, seeded order of the likes in every epoch."""

    def __init__(
        self, model: TwoTower, histories: Histories, events: int, settings: TwoTowerSettings, seed: int
    ) -> None:
        self.model = model
        self.histories = histories
        self._events = events
        self._settings = settings
        self._person = np.repeat(np.arange(len(histories), dtype=np.int32), histories.lengths)
        self._place = np.arange(histories.rows.size) - np.repeat(histories.starts[:-1], histories.lengths)
        self._random = np.random.default_rng(seed)
        self._step = tf.function(model.train_step, reduce_retracing=True)

    def epoch(self) -> None:
        order = self._random.permutation(self.histories.rows.size)[: self._settings.rows_per_epoch]
        for start in range(0, order.size, self._settings.batch_size):
            self._step({name: tf.constant(column) for name, column in self._batch(order, start).items()})

    def _batch(self, order: npt.NDArray[np.int64], start: int) -> dict[str, npt.NDArray[Any]]:
        likes = order[start : start + self._settings.batch_size]
        places = np.arange(LONGEST)[np.newaxis, :]
        source = np.maximum(likes[:, np.newaxis] - 1 - places, 0)
        there = places < self._place[likes][:, np.newaxis]
        negatives = self._random.integers(0, self._events, max(likes.size // _NEGATIVES_SHARE, 1), dtype=np.int32)
        return {
            "history": np.where(there, self.histories.rows[source] + 1, 0).astype(np.int32),
            "person": self._person[likes],
            "event": self.histories.rows[likes],
            "negatives": negatives,
        }
