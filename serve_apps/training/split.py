"""Cuts interactions by time: what is learned from, and the likes that a model should have foreseen. Pure."""

from typing import Literal

import numpy as np
import numpy.typing as npt

from serve_apps.contracts import POSITIVE_WEIGHT
from serve_apps.data import Interactions


def liked(rows: Interactions) -> Interactions:
    return rows.take(rows.weight >= POSITIVE_WEIGHT)


def split(rows: Interactions, fraction: float, by: Literal["person", "global"]) -> tuple[Interactions, Interactions]:
    """What is learned from, and the newest `fraction` of likes: of each person's, or of all."""
    return split_by_time(rows, fraction) if by == "person" else split_at_one_time(rows, fraction)


def split_by_time(rows: Interactions, fraction: float) -> tuple[Interactions, Interactions]:
    """Each person's newest `fraction` of likes (rounded down) against everything that person did before them."""
    is_liked = rows.weight >= POSITIVE_WEIGHT
    order = np.lexsort((rows.event, rows.at_ms, rows.person))
    held_out = np.zeros(len(rows), bool)
    drop = np.zeros(len(rows), bool)
    _, starts = np.unique(rows.person[order], return_index=True)
    for indices in np.split(order, starts[1:]) if starts.size else []:
        likes: npt.NDArray[np.int64] = indices[is_liked[indices]]
        count = int(likes.size * fraction)
        if count == 0:
            continue
        held = likes[-count:]
        held_out[held] = True
        # What came after the first held-out like would tell the model about the future.
        drop[indices[np.flatnonzero(indices == held[0])[0] :]] = True
    return rows.take(~(drop | held_out)), rows.take(held_out)


def split_at_one_time(rows: Interactions, fraction: float) -> tuple[Interactions, Interactions]:
    """The likes after one moment, chosen so that they are at most `fraction` of all, against everything before it."""
    is_liked = rows.weight >= POSITIVE_WEIGHT
    times = np.sort(rows.at_ms[is_liked])
    count = int(times.size * fraction)
    if count == 0:
        return rows, rows.take(np.zeros(len(rows), bool))
    before = rows.at_ms < times[-count] if times[-count] > times[0] else rows.at_ms <= times[-count]
    return rows.take(before), rows.take(~before & is_liked)
