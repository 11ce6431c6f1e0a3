"""What a model is trained on: the port that brings rows, and the columns they become.

`TrainingData` is implemented by storage (MongoDB) and by `csv_data` (a file). `gather` is called by training and turns
pages of rows into compact NumPy columns, within limits. Nothing here imports TensorFlow or a driver.
"""

import hashlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from cluster.kernel.errors import TRAINING_DATA_INVALID, FlowError
from serve_apps.contracts import CatalogueEvent, InteractionRow, ModelPerson

PAGE_ROWS = 5_000
"""The most rows one page may hold."""

Rows = npt.NDArray[np.int32]
Weights = npt.NDArray[np.float32]
Times = npt.NDArray[np.int64]


class TrainingData(Protocol):
    """A source of training rows. Each call starts from the beginning; a page holds at most `PAGE_ROWS`, in any order.

    An event or person that appears in an interaction need not appear in `events` or `people`: it is then known by id
    alone. Iterators raise FlowError: TRAINING_DATA_INVALID for rows that make no sense, UNAVAILABLE when the source is
    away. None of them blocks the loop.
    """

    def interactions(self) -> AsyncIterator[Sequence[InteractionRow]]: ...

    def events(self) -> AsyncIterator[Sequence[CatalogueEvent]]: ...

    def people(self) -> AsyncIterator[Sequence[ModelPerson]]: ...

    async def close(self) -> None: ...


class Limits(NamedTuple):
    """The most that one training run reads; more is refused, never cut silently."""

    interactions: int = 5_000_000
    events: int = 500_000
    people: int = 1_000_000


@dataclass(frozen=True, slots=True)
class Interactions:
    """Parallel columns, one row per (person, event) pair; indices point into the dataset's people and events."""

    person: Rows
    event: Rows
    weight: Weights
    at_ms: Times

    def __len__(self) -> int:
        return int(self.person.size)

    def take(self, mask: npt.NDArray[np.bool_] | npt.NDArray[np.int64]) -> "Interactions":
        return Interactions(self.person[mask], self.event[mask], self.weight[mask], self.at_ms[mask])


class Dataset(NamedTuple):
    """Everything a model learns from. The order of people and events is that of their ids, so it is reproducible."""

    people: tuple[ModelPerson, ...]
    events: tuple[CatalogueEvent, ...]
    interactions: Interactions
    fingerprint: str
    """SHA-256 over ids, weights and times: the same data gives the same text."""


class _Columns:
    """Grows the columns of `Interactions`, one row per pair: the strongest weight and the newest time of the pair."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._pairs: dict[tuple[str, str], tuple[float, int]] = {}

    def add(self, row: InteractionRow) -> None:
        if not 0.0 <= row.weight <= 1.0:
            raise FlowError(TRAINING_DATA_INVALID, f"An interaction weighs {row.weight}; weights are 0 to 1.")
        key = (row.user_id, row.event_id)
        known = self._pairs.get(key)
        if known is not None:
            self._pairs[key] = (max(known[0], row.weight), max(known[1], row.at_ms))
            return
        if len(self._pairs) >= self._limit:
            raise FlowError(TRAINING_DATA_INVALID, f"More than {self._limit:,} interactions; train on a newer part.")
        self._pairs[key] = (row.weight, row.at_ms)

    def people(self) -> set[str]:
        return {user_id for user_id, _ in self._pairs}

    def events(self) -> set[str]:
        return {event_id for _, event_id in self._pairs}

    def build(self, person_index: dict[str, int], event_index: dict[str, int]) -> Interactions:
        size = len(self._pairs)
        ordered = sorted(self._pairs.items())
        return Interactions(
            np.fromiter((person_index[user] for (user, _), _ in ordered), np.int32, size),
            np.fromiter((event_index[event] for (_, event), _ in ordered), np.int32, size),
            np.fromiter((weight for _, (weight, _) in ordered), np.float32, size),
            np.fromiter((at_ms for _, (_, at_ms) in ordered), np.int64, size),
        )


async def gather(data: TrainingData, limits: Limits | None = None) -> Dataset:
    """Read the whole source into memory.

    Raises FlowError TRAINING_DATA_INVALID when there is nothing to learn from or more than `limits` allow.
    """
    bounds = limits or Limits()
    columns = _Columns(bounds.interactions)
    async for page in data.interactions():
        for row in page:
            columns.add(row)
    if not columns.people():
        raise FlowError(TRAINING_DATA_INVALID, "There are no interactions to learn from.")
    events: dict[str, CatalogueEvent] = {}
    async for event_page in data.events():
        events.update((event.event_id, event) for event in event_page)
        _check_size("events", len(events), bounds.events)
    people: dict[str, ModelPerson] = {}
    async for people_page in data.people():
        people.update((person.user_id, person) for person in people_page)
        _check_size("people", len(people), bounds.people)
    for event_id in columns.events() - events.keys():
        events[event_id] = event_known_by_id(event_id)
    for user_id in columns.people() - people.keys():
        people[user_id] = ModelPerson(user_id=user_id)
    return _dataset(columns, people, events)


def event_known_by_id(event_id: str) -> CatalogueEvent:
    """An event of which nothing but its id is known."""
    return CatalogueEvent(
        event_id=event_id, title="", category="", tags=(), coordinates=None, start_ms=0, end_ms=0, is_public=False
    )


def _check_size(what: str, size: int, limit: int) -> None:
    if size > limit:
        raise FlowError(TRAINING_DATA_INVALID, f"More than {limit:,} {what}; training holds no more in memory.")


def _dataset(columns: _Columns, people: dict[str, ModelPerson], events: dict[str, CatalogueEvent]) -> Dataset:
    person_ids, event_ids = sorted(people), sorted(events)
    interactions = columns.build(
        {user_id: index for index, user_id in enumerate(person_ids)},
        {event_id: index for index, event_id in enumerate(event_ids)},
    )
    digest = hashlib.sha256()
    for ids in (person_ids, event_ids):
        digest.update("\n".join(ids).encode())
        digest.update(b"\0")
    for column in (interactions.person, interactions.event, interactions.weight, interactions.at_ms):
        digest.update(np.ascontiguousarray(column).tobytes())
    return Dataset(
        tuple(people[user_id] for user_id in person_ids),
        tuple(events[event_id] for event_id in event_ids),
        interactions,
        digest.hexdigest(),
    )
