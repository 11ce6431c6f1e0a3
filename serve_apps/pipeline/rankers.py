"""The two rankers that come with Flow: a linear one that needs no training, and a deep one with cross features.

Pure NumPy, so that ranking a batch costs no more than its sums. `DeepRanker` is a DCN-v2 (Wang et al. 2021): cross
layers x0 * (W x + b) + x beside a stack of dense layers, joined into one number. `ranker_training` fits it;
`ranker_files` keeps it. Both promise one finite number a row, the same for the same batch.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from serve_apps.contracts import RankingBatch
from serve_apps.pipeline.ranking_features import NAMES

Matrix = npt.NDArray[np.float32]

LINEAR_WEIGHTS: Final[dict[str, float]] = {
    "tower": 3.0,
    "alike": 1.5,
    "topics": 2.0,
    "distance": -1.2,
    "has_distance": 0.3,
    "hours_to_start": -0.6,
    "starts_today": 0.1,
    "friends_going": 2.5,
    "price_against_usual": -0.3,
    "is_free": 0.1,
    "trend": 1.0,
    "going": 0.4,
    "freshness": 0.3,
    "history_topics": 1.5,
    "knows_organizer": 0.5,
}
"""What counts while no ranker is trained: taste first, then friends, then what is near, soon and talked about."""


class LinearRanker:
    """A weighted sum of the features; implements `contracts.Ranker`."""

    name = "linear"

    def __init__(self) -> None:
        self._weights = np.array([LINEAR_WEIGHTS.get(name, 0.0) for name in NAMES], np.float32)

    def rank(self, batch: RankingBatch) -> Matrix:
        return self.scores(batch.features)

    def scores(self, features: Matrix) -> Matrix:
        """One a row."""
        scores: Matrix = features @ self._weights
        return scores


@dataclass(frozen=True, slots=True)
class Layer:
    """`weights` is (inputs x outputs), `bias` (outputs)."""

    weights: Matrix
    bias: Matrix

    def __call__(self, inputs: Matrix) -> Matrix:
        result: Matrix = inputs @ self.weights + self.bias
        return result


class DeepRanker:
    """Implements `contracts.Ranker`. Features are scaled by `mean` and `spread` first; `crosses` are square."""

    name = "deep"

    def __init__(
        self, mean: Matrix, spread: Matrix, crosses: tuple[Layer, ...], dense: tuple[Layer, ...], head: Layer
    ) -> None:
        self.mean, self.spread, self.crosses, self.dense, self.head = mean, spread, crosses, dense, head

    def rank(self, batch: RankingBatch) -> Matrix:
        return self.scores(batch.features)

    def scores(self, features: Matrix) -> Matrix:
        """The log-odds of liking, one a row."""
        scaled: Matrix = np.clip((features - self.mean) / self.spread, -8.0, 8.0)
        crossed = scaled
        for cross in self.crosses:
            crossed = scaled * cross(crossed) + crossed
        deep = scaled
        for layer in self.dense:
            deep = np.maximum(layer(deep), 0.0)
        joined: Matrix = np.concatenate((crossed, deep), axis=1)
        result: Matrix = self.head(joined)[:, 0]
        return result
