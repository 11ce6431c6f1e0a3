"""What people liked, in order: the columns that every model reads a person from, while training and while serving.

Built from interactions by training, from an artefact's file or from a request's events by a reader. Pure NumPy. A
history holds rows of events, oldest first; `newest` gives them newest first, which is the order models weigh them in.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy.sparse as sparse

from serve_apps.contracts import POSITIVE_WEIGHT
from serve_apps.data import Interactions, Rows

LONGEST = 40
"""How many of a person's newest likes are kept for serving and read by the two-tower model."""


@dataclass(frozen=True, slots=True)
class Histories:
    """Person i liked `rows[starts[i]:starts[i + 1]]`, oldest first."""

    starts: npt.NDArray[np.int64]
    rows: Rows

    def __len__(self) -> int:
        return self.starts.size - 1

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        return np.diff(self.starts)

    def take(self, people: npt.NDArray[np.integer]) -> "Histories":
        """The histories of `people`, in that order."""
        return of_lists([self.rows[self.starts[one] : self.starts[one + 1]] for one in people.tolist()])

    def shortened(self, longest: int) -> "Histories":
        """Only each person's `longest` newest likes."""
        places = np.arange(self.rows.size) - np.repeat(self.starts[1:], self.lengths)
        return Histories(
            np.concatenate(([0], np.cumsum(np.minimum(self.lengths, longest)))), self.rows[places >= -longest]
        )

    def newest(self, longest: int) -> Rows:
        """(people, longest) rows + 1, newest first; 0 where a history has ended."""
        places = np.arange(longest)[np.newaxis, :]
        source = np.clip(self.starts[1:, np.newaxis] - 1 - places, 0, max(self.rows.size - 1, 0))
        if not self.rows.size:
            return np.zeros((len(self), longest), np.int32)
        there = places < self.lengths[:, np.newaxis]
        return np.where(there, self.rows[source] + 1, 0).astype(np.int32)

    def matrix(self, events: int) -> sparse.csr_matrix:
        """(people, events): 1 where a person liked an event."""
        ones = np.ones(self.rows.size, np.float32)
        return sparse.csr_matrix((ones, self.rows, self.starts), (len(self), events))


def of_lists(lists: Sequence[npt.NDArray[np.int32] | Sequence[int]]) -> Histories:
    """Each list holds one person's rows, oldest first."""
    starts = np.concatenate(([0], np.cumsum([len(one) for one in lists], dtype=np.int64))).astype(np.int64)
    rows = np.concatenate([np.asarray(one, np.int32) for one in lists]) if lists else np.zeros(0, np.int32)
    return Histories(starts, rows.astype(np.int32))


def of_interactions(interactions: Interactions, people: int) -> Histories:
    """Everybody's likes by time; ties fall in the events' order."""
    likes = interactions.take(interactions.weight >= POSITIVE_WEIGHT)
    order = np.lexsort((likes.event, likes.at_ms, likes.person))
    counts = np.bincount(likes.person, minlength=people)
    return Histories(np.concatenate(([0], np.cumsum(counts))).astype(np.int64), likes.event[order])
