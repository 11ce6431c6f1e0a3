"""Where a two-tower model begins: a linear model's factors, and content that speaks for the events it knows.

Called by `fitting`. An event's factor is split into what its content explains (ridge regression on its tokens) and the
rest, which is kept by id. So an event never seen begins where events like it stand, and loses nothing by having an id.
"""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import scipy.sparse as sparse

from serve_apps.features import BUCKETS, Buckets, Features
from serve_apps.models.histories import Histories
from serve_apps.training.linear import Weights, factors

_RIDGE = 5.0
_ROUNDS = 30


class Beginning(NamedTuple):
    """The tables of `two_tower.Start`, before TensorFlow sees them."""

    liked: npt.NDArray[np.float32]
    events: npt.NDArray[np.float32]
    content: npt.NDArray[np.float32]
    nobody: npt.NDArray[np.float32]


def begin(weights: Weights, histories: Histories, events: Features, dimension: int, seed: int) -> Beginning:
    """Tables of exactly `dimension`; what the factors do not fill is small and random."""
    random = np.random.default_rng(seed)
    size = len(events.ids)
    liked, candidates = factors(weights.matrix, dimension, seed)
    rank = liked.shape[1]
    length = float(np.sqrt(np.mean(candidates[weights.counts > 0] ** 2))) if rank else 0.1
    spread = max(length, 1e-3)
    filled = [
        np.hstack((part, random.normal(0, spread / 10 if rank else spread, (size, dimension - rank))))
        for part in (liked, candidates)
    ]
    tokens = _incidence(events)
    # Tokens that no event has begin at random: an interest and a tag of the same name attract each other all the same.
    content = random.normal(0, spread, (BUCKETS, dimension))
    used = np.flatnonzero(np.asarray(tokens.sum(axis=0)).ravel())
    if used.size:
        content[used] = _ridge(tokens[:, used], filled[1])
    content[0] = 0.0
    rest = filled[1] - tokens @ content
    nothing = np.zeros((1, dimension))
    return Beginning(
        np.vstack((nothing, filled[0])).astype(np.float32),
        np.vstack((nothing, rest)).astype(np.float32),
        content.astype(np.float32),
        _average_person(histories, filled[0]),
    )


def _average_person(histories: Histories, liked: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    lengths = np.sqrt(np.maximum(histories.lengths, 1))
    share = np.repeat(1 / lengths, histories.lengths)
    total = np.bincount(histories.rows, weights=share, minlength=len(liked)) @ liked
    average: npt.NDArray[np.float32] = (total / max(len(histories), 1)).astype(np.float32)
    return average


def _incidence(events: Features) -> sparse.csr_matrix:
    """(events, BUCKETS): how much each token counts for an event, as the towers add them up."""
    parts = [_part(column) for column in (events.topics, events.words, events.places)]
    total = parts[0] + parts[1] + parts[2]
    return total.tocsr()


def _part(column: Buckets) -> sparse.csr_matrix:
    rows, places = np.nonzero(column)
    count = np.maximum((column > 0).sum(axis=1), 1)
    weight = 1 / np.sqrt(count[rows])
    return sparse.csr_matrix((weight, (rows, column[rows, places])), (len(column), BUCKETS))


def _ridge(tokens: sparse.csr_matrix, target: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Conjugate gradients on the normal equations, all columns at once."""
    found = np.zeros((tokens.shape[1], target.shape[1]))
    residual = tokens.T @ target
    direction = residual.copy()
    size = (residual**2).sum(axis=0)
    for _ in range(_ROUNDS):
        image = tokens.T @ (tokens @ direction) + _RIDGE * direction
        step = size / np.maximum((direction * image).sum(axis=0), 1e-20)
        found += step * direction
        residual -= step * image
        before, size = size, (residual**2).sum(axis=0)
        direction = residual + size / np.maximum(before, 1e-20) * direction
    return found
