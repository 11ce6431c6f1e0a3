"""Where a score stands among all events: the scale that rankers see, whatever kind of model gave it.

A two-tower's scores go from -20 to 20, EASE's from 0 to 1, popularity's into the thousands. A ranker's features must
not depend on that. So a look at the events (a vector) is told in standard deviations from its mean over the events that
its version was trained on: training and serving compute it from the same stored vectors. Pure NumPy.
"""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Vectors = npt.NDArray[np.float32]

_LEAST_SPREAD = 1e-6


class Standing(NamedTuple):
    """Mean and covariance of a version's event vectors: those of any look's scores follow without computing them."""

    mean: Vectors
    covariance: Vectors

    def scale(self, looks: Vectors) -> tuple[Vectors, Vectors]:
        """The mean and the spread of the scores of each of `looks` (a row each)."""
        spread = np.sqrt(np.maximum(((looks @ self.covariance) * looks).sum(axis=1), 0.0))
        return looks @ self.mean, np.maximum(spread, _LEAST_SPREAD).astype(np.float32)

    def of(self, looks: Vectors, scores: Vectors) -> Vectors:
        """`scores` of `looks` in standard deviations; it changes `scores`."""
        mean, spread = self.scale(looks)
        scores -= mean[:, np.newaxis]
        scores /= spread[:, np.newaxis]
        return scores


def standing(vectors: npt.NDArray[Any]) -> Standing | None:
    """None where there are too few events to stand among."""
    if len(vectors) < 2:
        return None
    exact = vectors.astype(np.float64)
    covariance = np.cov(exact, rowvar=False, bias=True).reshape(exact.shape[1], exact.shape[1])
    return Standing(exact.mean(axis=0).astype(np.float32), covariance.astype(np.float32))
