"""Exact search: the best of many scores, quickly. Pure NumPy; used by every source of candidates.

Up to 100,000 live events, one multiplication with all their vectors is quicker than an approximate index is right, and
it takes any filter (docs/decisions/0018).
"""

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

Vectors = npt.NDArray[np.float32]
Rows = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

_BLOCK: Final = 8_192
_LANES: Final = 64
"""Scores are looked at in this many parts: the k best are no worse than the k-th best of the columns' own best."""


class Scored(NamedTuple):
    """`scores` are looks x vectors, -inf for what is closed; `tops` are looks x lanes: the best of each lane."""

    scores: Vectors
    tops: Vectors


def scored(looks: Vectors, vectors: Vectors, is_open: Flags) -> Scored:
    """The dot product of each look (a row each) with each vector that is open.

    In this order of factors and block by block, because a few looks times many vectors is what BLAS is slowest at: two
    looks at 100,000 vectors of 65 take 1.5 ms instead of 6.9, thirty-two 7.9 instead of 11.4. Lanes' tops are found
    while a block is in the processor's cache: whoever wants the best looks at the tops first.
    """
    scores = np.empty((len(looks), len(vectors)), np.float32)
    tops = []
    turned = looks.T
    closed = np.flatnonzero(~is_open)
    for start in range(0, len(vectors), _BLOCK):
        block = vectors[start : start + _BLOCK] @ turned
        first, last = np.searchsorted(closed, (start, start + len(block)))
        block[closed[first:last] - start] = -np.inf
        scores[:, start : start + _BLOCK] = block.T
        lanes = len(block) // _LANES
        whole = block[: lanes * _LANES].reshape(_LANES, lanes, len(looks))
        tops += [np.fmax.reduce(whole, axis=0), block[lanes * _LANES :]]
    found = np.concatenate(tops).T if tops else np.zeros((len(looks), 0), np.float32)
    return Scored(scores, np.nan_to_num(found, nan=-np.inf, posinf=np.inf, neginf=-np.inf))


def best_allowed(scores: Vectors, tops: Vectors, allowed: Flags, limit: int, forbidden: int) -> Rows:
    """`best_rows` of one look among those that are allowed. `forbidden` is how many, or more than how many, of those
    that are open are not."""
    wanted = limit + forbidden
    if limit <= 0 or tops.size <= 4 * wanted:
        return best_rows(np.where(allowed, scores, np.float32(-np.inf)), limit)
    # So many lanes have something as good as this; with all that are forbidden among them, enough are left.
    rows = np.flatnonzero(scores >= np.partition(tops, tops.size - wanted)[tops.size - wanted])
    rows = rows[allowed[rows]]
    return _first_of(rows, scores[rows], limit)


def best_rows(scores: Vectors, limit: int) -> Rows:
    """The rows of the `limit` best scores, best first, ties by row; what is -inf or NaN is left out.

    Exact: whatever the scores are, no better row is missed.
    """
    size = scores.size
    if limit <= 0 or size == 0:
        return np.zeros(0, np.int64)
    columns = size // _LANES
    if columns > 4 * limit:
        lanes = scores[: columns * _LANES].reshape(_LANES, columns)
        tops = np.nan_to_num(np.fmax.reduce(lanes, axis=0), nan=-np.inf, posinf=np.inf, neginf=-np.inf)
        # So many columns have something as good as this, so nothing worse is among the best. Ties take part, so that
        # they can fall in the order of the rows.
        rows = np.flatnonzero(scores >= np.partition(tops, columns - limit)[columns - limit])
    else:
        rows = np.arange(size)
    return _first_of(rows, scores[rows], limit)


def _first_of(rows: Rows, values: Vectors, limit: int) -> Rows:
    """`rows` are ascending."""
    kept = values > -np.inf
    rows, values = rows[kept], values[kept]
    if rows.size > limit:
        threshold = np.partition(values, rows.size - limit)[rows.size - limit]
        above = values > threshold
        better = rows[above]
        level = rows[values == threshold][: limit - better.size]  # of those that tie, few are wanted
        return np.concatenate((better[np.lexsort((better, -values[above]))], level))
    found: Rows = rows[np.lexsort((rows, -values))]
    return found
