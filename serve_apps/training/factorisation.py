"""Fits implicit matrix factorisation by alternating least squares. NumPy only; called by `comparison`."""

from typing import Final, NamedTuple

import numpy as np

from serve_apps.models import histories as histories_of
from serve_apps.models.histories import Histories
from serve_apps.models.scoring import Factors, Vectors, solve
from serve_apps.training.linear import counts


class AlsParameters(NamedTuple):
    """`w0` weighs what was not liked, `l2` is scaled by how often something was liked; see `scoring.Factors`."""

    w0: float = 0.1
    l2: float = 0.01
    dimension: int = 64
    rounds: int = 8


TRIED: Final = (AlsParameters(0.1, 0.01), AlsParameters(0.1, 0.003), AlsParameters(0.03, 0.01))
"""What is tried on the validation part."""


def als(histories: Histories, events: int, parameters: AlsParameters, seed: int) -> Factors:
    """Alternates between people and events, `rounds` times each, from small seeded vectors."""
    by_event = _transposed(histories, events)
    random = np.random.default_rng(seed)
    scale = 0.1 / np.sqrt(parameters.dimension)
    items: Vectors = random.normal(0, scale, (events, parameters.dimension)).astype(np.float32)
    for _ in range(parameters.rounds):
        people = solve(histories, items, parameters.w0, parameters.l2)
        items = solve(by_event, people, parameters.w0, parameters.l2)
    return Factors(items, counts(histories, events), parameters.w0, parameters.l2)


def _transposed(histories: Histories, events: int) -> Histories:
    matrix = histories.matrix(events).T.tocsr()
    return histories_of.Histories(matrix.indptr.astype(np.int64), matrix.indices.astype(np.int32))
