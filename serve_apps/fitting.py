"""Fits two-tower models to rows of one dataset; imports TensorFlow.

Called by `training` in its thread. Two fits with the same seed and rows differ only by the rounding of parallel sums.
"""

import numpy as np

from serve_apps import evaluation
from serve_apps.contracts import POSITIVE_WEIGHT
from serve_apps.data import Dataset, Interactions
from serve_apps.features import event_features, people_features
from serve_apps.tensorflow_setup import bound_threads, tf
from serve_apps.training_settings import Progress, TrainingProgress, TrainingSettings
from serve_apps.two_tower import Shape, TwoTower


class Fitter:
    """Holds the features of one dataset; every fit starts from fresh weights."""

    def __init__(self, dataset: Dataset, settings: TrainingSettings, report: Progress) -> None:
        bound_threads(settings.threads)
        self._settings = settings
        self._report = report
        self._people = people_features(dataset.people)
        self._events = event_features(dataset.events)

    def fit(self, rows: Interactions, epochs: int, stage: str = "fitting") -> TwoTower:
        """A model fitted for exactly `epochs`."""
        run = self._run(rows)
        for epoch in range(epochs):
            run.epoch()
            self._report(TrainingProgress(stage, epoch + 1, epochs))
        return run.model

    def best_epochs(self, rows: Interactions, validation: Interactions) -> int:
        """How many epochs give the best NDCG@10 on `validation`; gives up after `patience` without a better one."""
        settings = self._settings
        run = self._run(rows)
        seen = rows.take(rows.weight >= POSITIVE_WEIGHT)
        best, best_epoch = -1.0, 1
        for epoch in range(1, settings.max_epochs + 1):
            run.epoch()
            metrics = evaluation.evaluate(self.scorer(run.model), seen, validation, seed=settings.seed)
            self._report(TrainingProgress("fitting", epoch, settings.max_epochs, metrics))
            if metrics[evaluation.GATE] > best:
                best, best_epoch = metrics[evaluation.GATE], epoch
            elif epoch - best_epoch >= settings.patience:
                break
        return best_epoch

    @staticmethod
    def scorer(model: TwoTower) -> evaluation.Scorer:
        """All events' scores for people, with the vectors that the model has now."""
        people, events = model.person_vectors(), model.event_vectors()
        return lambda rows: people[rows] @ events.T

    def _run(self, rows: Interactions) -> "_Run":
        settings = self._settings
        tf.keras.backend.clear_session()
        tf.keras.utils.set_random_seed(settings.seed)
        # How often an event appears in a batch, as a liked one or as a negative.
        counts = np.bincount(rows.event, minlength=len(self._events.ids)).astype(np.float32)
        probabilities = np.maximum(counts / max(len(rows), 1), 1e-9)
        shape = Shape(dimension=settings.dimension, dropout=settings.dropout, l2=settings.l2)
        model = TwoTower(self._people, self._events, probabilities, shape)
        model.compile(optimizer=tf.keras.optimizers.legacy.Adam(settings.learning_rate))
        return _Run(model, rows, settings)


class _Run:
    """One model being fitted; batches are cut from a fresh, seeded order of the rows in every epoch."""

    def __init__(self, model: TwoTower, rows: Interactions, settings: TrainingSettings) -> None:
        self.model = model
        self._columns = {
            "person": rows.person,
            "event": rows.event,
            "weight": rows.weight,
            "liked": (rows.weight >= POSITIVE_WEIGHT).astype(np.float32),
        }
        self._size = len(rows)
        self._batch_size = settings.batch_size
        self._random = np.random.default_rng(settings.seed)
        self._step = tf.function(model.train_step, reduce_retracing=True)

    def epoch(self) -> None:
        order = self._random.permutation(self._size)
        for start in range(0, self._size, self._batch_size):
            batch = order[start : start + self._batch_size]
            self._step({name: tf.constant(column[batch]) for name, column in self._columns.items()})
