"""Fits the item-to-item models and popularity: item-kNN and EASE. SciPy only, no TensorFlow.

Called by `comparison`. EASE is Steck's closed form (2019): with G the events' co-likes, P = (G + l2·I)⁻¹ and
weights -P / diag(P), zero on the diagonal. It is solved dense, for the most liked events. `Dense` is the baseline that
is measured; what is served, and measured in a row of its own, is cut to the strongest weights of each event.
"""

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
import scipy.linalg as linalg
import scipy.sparse as sparse
from sklearn.utils.extmath import randomized_svd

from serve_apps.models.histories import Histories
from serve_apps.models.scoring import Neighbours, Popularity, Vectors

EASE_L2: Final = (100.0, 300.0, 30.0, 1000.0)
SHRINKAGES: Final = (0.0, 5.0, 20.0)
"""What is tried on the validation part."""

_BLOCK: Final = 512


class Weights(NamedTuple):
    """Sparse item-to-item weights and how many people liked each event."""

    matrix: sparse.csr_matrix
    counts: Vectors


def popularity(histories: Histories, events: int) -> Popularity:
    return Popularity(counts(histories, events))


def counts(histories: Histories, events: int) -> Vectors:
    return np.bincount(histories.rows, minlength=events).astype(np.float32)


def item_knn(histories: Histories, events: int, shrinkage: float) -> Weights:
    """Cosine of two events' people, lowered where few people speak for it; each event's nearest are kept."""
    likes = histories.matrix(events)
    liked = counts(histories, events)
    lengths = np.sqrt(liked)
    by_event = likes.T.tocsr()
    blocks = []
    for start in range(0, events, _BLOCK):
        rows = (by_event[start : start + _BLOCK] @ likes).tocoo()
        source = rows.row + start
        value = rows.data / (lengths[source] * lengths[rows.col] + shrinkage)
        keep = source != rows.col
        shape = (min(_BLOCK, events - start), events)
        blocks.append(_strongest(sparse.csr_matrix((value[keep], (rows.row[keep], rows.col[keep])), shape)))
    return Weights(sparse.vstack(blocks, format="csr").astype(np.float32), liked)


class Dense(NamedTuple):
    """EASE as it is published: all weights between the events `chosen`, the others have none."""

    chosen: npt.NDArray[np.int64]
    weights: Vectors
    liked: Vectors

    def scores(self, histories: Histories) -> Vectors:
        scores = np.zeros((len(histories), self.liked.size), np.float32)
        scores[:, self.chosen] = histories.matrix(self.liked.size)[:, self.chosen] @ self.weights
        scores[histories.lengths == 0] = self.liked / max(float(self.liked.sum()), 1.0)
        return scores

    def cut(self) -> Weights:
        size = self.liked.size
        if not self.chosen.size:
            return Weights(sparse.csr_matrix((size, size), dtype=np.float32), self.liked)
        starts = range(0, self.chosen.size, _BLOCK)
        blocks = [_strongest(sparse.csr_matrix(self.weights[start : start + _BLOCK])) for start in starts]
        small = sparse.vstack(blocks, format="coo")
        rows, columns = self.chosen[small.row], self.chosen[small.col]
        return Weights(sparse.csr_matrix((small.data, (rows, columns)), (size, size)).astype(np.float32), self.liked)


def ease(histories: Histories, events: int, l2: float, most_events: int) -> Dense:
    """EASE over the `most_events` most liked events; the others have no weights."""
    liked = counts(histories, events)
    chosen = np.sort(np.argsort(-liked, kind="stable")[: min(most_events, int((liked > 0).sum()))])
    if not chosen.size:
        return Dense(chosen, np.zeros((0, 0), np.float32), liked)
    likes = histories.matrix(events)[:, chosen]
    gram: npt.NDArray[np.float32] = (likes.T @ likes).toarray()
    gram[np.diag_indices_from(gram)] += np.float32(l2)
    inverse = _inverse(gram)
    inverse /= -np.diag(inverse)
    inverse[np.diag_indices_from(inverse)] = 0.0
    return Dense(chosen, inverse, liked)


def served(weights: Weights, kind: str, dimension: int, seed: int) -> Neighbours:
    """The model with vectors beside its weights."""
    left, right = factors(weights.matrix, dimension, seed)
    return Neighbours(weights.matrix, weights.counts, left, right, kind)


def measured(weights: Weights, kind: str) -> Neighbours:
    """The model without vectors, for measuring only."""
    nothing = np.zeros((weights.counts.size, 0), np.float32)
    return Neighbours(weights.matrix, weights.counts, nothing, nothing, kind)


def factors(matrix: sparse.csr_matrix, dimension: int, seed: int) -> tuple[Vectors, Vectors]:
    """left @ right.T is close to `matrix`; both are (events, at most `dimension`)."""
    rank = min(dimension, min(matrix.shape) - 1)
    if rank < 1 or matrix.nnz == 0:
        nothing = np.zeros((matrix.shape[0], 0), np.float32)
        return nothing, nothing
    left, values, right = randomized_svd(matrix, rank, n_iter=3, random_state=seed)
    root = np.sqrt(values)
    return (left * root).astype(np.float32), (right.T * root).astype(np.float32)


def _inverse(matrix: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Of a positive definite matrix, in place where that is possible."""
    factor, wrong = linalg.lapack.spotrf(matrix, lower=1, overwrite_a=1)
    if wrong:
        raise ValueError("the co-likes are not positive definite")
    inverse, wrong = linalg.lapack.spotri(factor, lower=1, overwrite_c=1)
    if wrong:
        raise ValueError("the co-likes cannot be inverted")
    lower: npt.NDArray[np.float32] = np.tril(inverse)
    return np.ascontiguousarray(lower + np.tril(lower, -1).T)


def _strongest(rows: sparse.csr_matrix) -> sparse.csr_matrix:
    """Each row's `Neighbours.KEPT` weights of the greatest size."""
    longest = Neighbours.KEPT
    keep = np.ones(rows.nnz, bool)
    for start, end in zip(rows.indptr[:-1], rows.indptr[1:], strict=True):
        if end - start > longest:
            weak = np.argpartition(-np.abs(rows.data[start:end]), longest)[longest:]
            keep[start + weak] = False
    entries = rows.tocoo()
    return sparse.csr_matrix((entries.data[keep], (entries.row[keep], entries.col[keep])), rows.shape)
