"""A model whose vectors say which version made them; implements `serve_apps.engine.LoadedModel`."""

from collections.abc import Sequence

import numpy as np

from serve_apps.engine import StoredVectors
from serve_apps.features import Features
from serve_apps.retrieval import Vectors


class ToyModel:
    """Every score is number * number, so a score that mixes two versions is neither's square."""

    def __init__(self, number: int, stored: StoredVectors | None = None) -> None:
        self.version = f"v{number}"
        self.stored = stored or StoredVectors({}, (), np.zeros((0, 1), np.float32))
        self.embedded: list[str] = []
        self._number = number

    def embed_people(self, people: Features, histories: Sequence[Sequence[str] | None] | None = None) -> Vectors:
        return np.full((len(people.ids), 1), self._number, np.float32)

    def embed_events(self, events: Features) -> Vectors:
        self.embedded += events.ids.tolist()
        return np.full((len(events.ids), 1), self._number, np.float32)
