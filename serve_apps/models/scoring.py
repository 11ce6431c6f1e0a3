"""The models that need no TensorFlow: how each turns histories into scores and into vectors.

Fitted by `training.linear` and `training.factorisation`, written and read by `models.files`. What is measured is the
object that is served: the truncated neighbours, the folded-in factors. Pure NumPy and SciPy; safe to read from threads.
"""

from typing import Any, ClassVar, Protocol

import numpy as np
import numpy.typing as npt
import scipy.sparse as sparse

from serve_apps.models.histories import Histories

Vectors = npt.NDArray[np.float32]


class ScoringModel(Protocol):
    """Histories in, scores out. `events` is how many events the model knows; scores have one column for each."""

    kind: str

    @property
    def events(self) -> int: ...

    def scores(self, histories: Histories) -> Vectors: ...

    def person_vectors(self, histories: Histories) -> Vectors:
        """Their dot product with `event_vectors` orders events as `scores` does, or nearly so."""

    def event_vectors(self) -> Vectors: ...

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """What is stored; the class makes itself of the same arrays again."""


class Popularity:
    """Everybody gets what most people liked."""

    kind = "popularity"

    def __init__(self, counts: Vectors) -> None:
        self._counts = counts.astype(np.float32)

    @property
    def events(self) -> int:
        return self._counts.size

    def scores(self, histories: Histories) -> Vectors:
        return np.repeat(self._counts[np.newaxis, :], len(histories), axis=0)

    def person_vectors(self, histories: Histories) -> Vectors:
        return np.ones((len(histories), 1), np.float32)

    def event_vectors(self) -> Vectors:
        return self._counts[:, np.newaxis]

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        return {"counts": self._counts}


class Neighbours:
    """Item to item: an event scores the sum of its weights from the events a person liked (item-kNN, EASE).

    `weights` is sparse, at most `KEPT` a row, so memory grows with the events and not with their square. `counts` order
    events for a person of whom nothing is known, and are too small to change any other order. `left` and `right` are a
    truncated SVD of the weights, for a caller that compares vectors.
    """

    KEPT: ClassVar[int] = 256

    def __init__(self, weights: sparse.csr_matrix, counts: Vectors, left: Vectors, right: Vectors, kind: str) -> None:
        self.kind = kind
        self._weights = weights
        self._counts = counts.astype(np.float32)
        self._prior = self._counts / max(float(self._counts.sum()), 1.0)
        self._left, self._right = left, right

    @property
    def events(self) -> int:
        return self._counts.size

    def scores(self, histories: Histories) -> Vectors:
        scores: Vectors = (histories.matrix(self.events) @ self._weights).toarray()
        cold = histories.lengths == 0
        scores[cold] = self._prior
        return scores

    def person_vectors(self, histories: Histories) -> Vectors:
        cold = (histories.lengths == 0).astype(np.float32)
        return np.column_stack((histories.matrix(self.events) @ self._left, cold)).astype(np.float32)

    def event_vectors(self) -> Vectors:
        return np.column_stack((self._right, self._prior)).astype(np.float32)

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        return {
            "data": self._weights.data,
            "indices": self._weights.indices,
            "indptr": self._weights.indptr,
            "counts": self._counts,
            "left": self._left,
            "right": self._right,
        }


class Factors:
    """Implicit matrix factorisation: a person is solved for from the liked events' factors, as in training.

    Hu, Koren and Volinsky (2008) with the frequency-scaled regularisation of Rendle and others (2021): minimise
    sum over likes of (1 - u·v)² + w0 · sum over all of (u·v)² + l2 · (n + w0 · events) · |u|².
    """

    kind = "als"

    def __init__(self, factors: Vectors, counts: Vectors, w0: float, l2: float) -> None:
        self._factors = factors.astype(np.float32)
        self._counts = counts.astype(np.float32)
        self._prior = self._counts / max(float(self._counts.sum()), 1.0)
        self.w0, self.l2 = w0, l2

    @property
    def events(self) -> int:
        return len(self._factors)

    def scores(self, histories: Histories) -> Vectors:
        return self.person_vectors(histories) @ self.event_vectors().T

    def person_vectors(self, histories: Histories) -> Vectors:
        cold = (histories.lengths == 0).astype(np.float32)
        return np.column_stack((solve(histories, self._factors, self.w0, self.l2), cold))

    def event_vectors(self) -> Vectors:
        return np.column_stack((self._factors, self._prior))

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        return {"factors": self._factors, "counts": self._counts, "w0": np.array(self.w0), "l2": np.array(self.l2)}


def solve(histories: Histories, factors: Vectors, w0: float, l2: float) -> Vectors:
    """The vectors of the people of `histories`, given the events' `factors`; zero for those without a like."""
    size = factors.shape[1]
    found = np.zeros((len(histories), size), np.float32)
    gram = w0 * (factors.T @ factors)
    padded = np.vstack((np.zeros((1, size), np.float32), factors))
    order = np.argsort(histories.lengths, kind="stable")
    order = order[histories.lengths[order] > 0]
    start = 0
    while start < order.size:
        # Alike lengths together: little padding, and one multiplication for all of them.
        longest = int(histories.lengths[order[min(start + 511, order.size - 1)]])
        count = max(1, min(512, 65_536 // longest))
        people = order[start : start + count]
        liked = padded[histories.take(people).newest(int(histories.lengths[people[-1]]))]
        penalty = l2 * (histories.lengths[people] + w0 * len(factors))
        left = gram + np.matmul(liked.transpose(0, 2, 1), liked) + penalty[:, None, None] * np.eye(size)
        found[people] = np.linalg.solve(left, liked.sum(axis=1)[:, :, None].astype(np.float64))[:, :, 0]
        start += count
    return found


def restored(kind: str, arrays: dict[str, npt.NDArray[Any]]) -> ScoringModel:
    """The model of `arrays`. Raises KeyError or ValueError for arrays that are not of that kind."""
    if kind == Popularity.kind:
        return Popularity(arrays["counts"])
    if kind == Factors.kind:
        return Factors(arrays["factors"], arrays["counts"], float(arrays["w0"]), float(arrays["l2"]))
    size = arrays["counts"].size
    weights = sparse.csr_matrix((arrays["data"], arrays["indices"], arrays["indptr"]), (size, size))
    return Neighbours(weights, arrays["counts"], arrays["left"], arrays["right"], kind)
