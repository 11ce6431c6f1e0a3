"""A version without TensorFlow, in memory: popularity, item-kNN, EASE or matrix factorisation as a `ServedModel`.

Loaded by `model_files`. It knows events by id alone: one that training did not know has no vector of its own and ranks
behind every event that something speaks for; the pipeline's other sources bring such events.
"""

from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np

from serve_apps.contracts import ScoredEvent
from serve_apps.engine import StoredVectors
from serve_apps.features import Features
from serve_apps.models import files
from serve_apps.models.reader import KnownEvents, KnownPeople, Vectors, best
from serve_apps.models.scoring import ScoringModel, restored


class SimpleModel:
    """Implements `reader.ServedModel` and `engine.LoadedModel`."""

    def __init__(
        self, version: str, model: ScoringModel, events: KnownEvents, vectors: Vectors, people: KnownPeople
    ) -> None:
        self.version = version
        self.kind = model.kind
        self.stored = StoredVectors(events.rows, events.digests, vectors)
        self._model = model
        self._events = events
        self._people = people

    def embed_people(self, people: Features, histories: Sequence[Sequence[str] | None] | None = None) -> Vectors:
        return self._model.person_vectors(self._people.read(people.ids.tolist(), histories, self._events))

    def embed_events(self, events: Features) -> Vectors:
        vectors = np.zeros((len(events.ids), self.stored.vectors.shape[1]), np.float32)
        for row, event_id in enumerate(events.ids.tolist()):
            known = self._events.rows.get(event_id)
            if known is not None:
                vectors[row] = self.stored.vectors[known]
        return vectors

    def retrieve(
        self, user_id: str, history: Sequence[str] | None, k: int, seen: Collection[str] = ()
    ) -> tuple[ScoredEvent, ...]:
        read = self._people.read([user_id], None if history is None else [history], self._events)
        return best(self._model.scores(read)[0], self._events, k, seen)


def load(version: str, kind: str, directory: Path) -> SimpleModel:
    """Raises what `files.UNREADABLE` names."""
    events, vectors = files.read_candidates(directory)
    model = restored(kind, files.read_arrays(directory / files.ARRAYS))
    people = files.read_people(directory, len(events.ids))
    loaded = SimpleModel(version, model, events, vectors, people)
    width = model.person_vectors(people.histories.take(np.arange(min(1, len(people.histories))))).shape[1]
    if model.events != len(events.ids) or width != vectors.shape[1]:
        raise ValueError("the arrays do not fit the stored events")
    return loaded


def write(directory: Path, model: ScoringModel) -> None:
    """Write the arrays of a model; `files` writes what every version has."""
    np.savez(directory / files.ARRAYS, **model.arrays())  # type: ignore[arg-type]
