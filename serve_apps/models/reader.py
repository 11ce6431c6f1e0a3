"""What every served model can do, whatever it is made of: the contract between artefacts and those who serve them.

`model_files.load` returns a `ServedModel`; the engine and the pipeline's sources call it. Two ways to ask: vectors, for
who keeps an index of live events, and `retrieve`, for who wants a model's own candidates.
"""

from collections.abc import Collection, Sequence
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from serve_apps.contracts import ScoredEvent
from serve_apps.features import Features
from serve_apps.models.histories import LONGEST, Histories, of_lists

Vectors = npt.NDArray[np.float32]


class KnownEvents(NamedTuple):
    """The events that training knew: `ids[i]` has row i, `digests[i]` is the checksum of the content it then had."""

    ids: tuple[str, ...]
    rows: dict[str, int]
    digests: tuple[int, ...]


class ServedModel(Protocol):
    """A version in memory. A person's and an event's vector are of one width; their dot product says liking.

    May be called from two threads at once. A person is read from `histories`, event ids newest first, one sequence per
    person; without them, or with None for one, from what training knew of that person. An event or person never seen
    is read by its content, where the model knows content at all, and else like somebody of whom nothing is known.
    """

    @property
    def version(self) -> str: ...

    @property
    def kind(self) -> str: ...

    def embed_people(self, people: Features, histories: Sequence[Sequence[str] | None] | None = None) -> Vectors: ...

    def embed_events(self, events: Features) -> Vectors: ...

    def retrieve(
        self, user_id: str, history: Sequence[str] | None, k: int, seen: Collection[str] = ()
    ) -> tuple[ScoredEvent, ...]:
        """At most `k` of the events that training knew, best first, none of `seen`; fewer when fewer are left."""


class KnownPeople(NamedTuple):
    """The newest likes of the people that training knew."""

    rows: dict[str, int]
    histories: Histories

    def read(
        self, user_ids: Sequence[str], histories: Sequence[Sequence[str] | None] | None, events: KnownEvents
    ) -> Histories:
        """One history per person; events that training did not know say nothing here."""
        if histories is None:
            histories = [None] * len(user_ids)
        return of_lists(
            [
                self._stored(user_id) if history is None else _rows(history, events)
                for user_id, history in zip(user_ids, histories, strict=True)
            ]
        )

    def _stored(self, user_id: str) -> npt.NDArray[np.int32]:
        row = self.rows.get(user_id)
        if row is None:
            return np.zeros(0, np.int32)
        return self.histories.rows[self.histories.starts[row] : self.histories.starts[row + 1]]


def _rows(history: Sequence[str], events: KnownEvents) -> list[int]:
    """Oldest first."""
    return [events.rows[one] for one in history if one in events.rows][LONGEST - 1 :: -1]


def best(scores: Vectors, events: KnownEvents, k: int, seen: Collection[str]) -> tuple[ScoredEvent, ...]:
    """The highest finite scores; ties fall in the events' order."""
    scores = np.where(np.isfinite(scores), scores, -np.inf).astype(np.float32)
    scores[[events.rows[one] for one in seen if one in events.rows]] = -np.inf
    k = min(k, scores.size)
    if k <= 0:
        return ()
    threshold = np.partition(scores, scores.size - k)[scores.size - k]
    near = np.flatnonzero(scores >= threshold)
    order = near[np.argsort(-scores[near], kind="stable")][:k]
    return tuple(ScoredEvent(events.ids[row], float(scores[row])) for row in order if scores[row] > -np.inf)
