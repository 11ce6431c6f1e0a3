"""The two-tower model's person tower without TensorFlow: the same sums in NumPy, over the same tables in memory.

A call into TensorFlow costs more than what it computes for a few people. `read` takes a loaded tower's tables without
copying them, and is believed only when both say the same of made-up people; of a tower made of anything else it gives
None, and the caller goes on with the tower itself. See `two_tower.PersonTower` for what is computed.
"""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from serve_apps.features import BUCKETS, CELL_DEGREES, TOPICS, WORDS, Buckets
from serve_apps.models.histories import LONGEST
from serve_apps.models.reader import Vectors

Table = npt.NDArray[np.float32]

TOLERANCE: Final = 1e-5
_PROBES: Final = 24


@dataclass(frozen=True, slots=True)
class PersonTables:
    """`liked` has a row for nothing and one for each event, `content` one a bucket; `inner` and `outer` are a residual
    layer's weights and bias; `weights` are those of a history's places, newest first."""

    liked: Table
    content: Table
    nobody: Table
    weights: Table
    factor: np.float32
    inner: tuple[Table, Table]
    outer: tuple[Table, Table]

    def embed(self, history: Buckets, topics: Buckets, words: Buckets, places: Buckets) -> Vectors:
        """A row for each person; arguments as the tower's own."""
        history = _used(history)
        weights = (history > 0) * self.weights[: history.shape[1]]
        length = np.sqrt((weights**2).sum(axis=1, keepdims=True))
        base = np.einsum("bh,bhd->bd", weights, self.liked[history]) / np.maximum(length, np.float32(1e-3))
        base += (length == 0.0) * self.nobody
        for tokens in (topics, words, places):
            base += self._mean(_used(tokens))
        hidden = np.maximum(base @ self.inner[0] + self.inner[1], 0.0)
        vectors = np.ones((len(base), base.shape[1] + 1), np.float32)
        vectors[:, :-1] = self.factor * (base + hidden @ self.outer[0] + self.outer[1])
        return vectors

    def _mean(self, tokens: Buckets) -> Table:
        present = (tokens > 0).astype(np.float32)
        count = np.maximum(present.sum(axis=1, keepdims=True), np.float32(1.0))
        mean: Table = np.einsum("bt,btd->bd", present, self.content[tokens]) / np.sqrt(count)
        return mean


def read(tower: Any) -> PersonTables | None:
    """The tables of a loaded `person_tower`; None when it is not one that these sums describe."""
    try:
        tables = _taken(tower.tower)
    except (AttributeError, TypeError, ValueError, IndexError):
        return None
    return tables if _agrees(tables, tower) else None


def _taken(layer: Any) -> PersonTables:
    inner, inner_bias, outer, outer_bias = (_shared(variable) for variable in layer.residual.variables)
    return PersonTables(
        liked=_shared(layer.liked),
        content=_shared(layer.content),
        nobody=_shared(layer.nobody),
        weights=np.exp(_shared(layer.places)[0]),
        factor=np.float32(np.exp(_shared(layer.scale))),
        inner=(inner, inner_bias),
        outer=(outer, outer_bias),
    )


def _shared(variable: Any) -> Table:
    """The variable's own memory: a version's variables never change, and the array keeps them alive."""
    return np.asarray(memoryview(variable.read_value()))


def _agrees(tables: PersonTables, tower: Any) -> bool:
    """On people with much, little and nothing, drawn the same each time."""
    probes = made_up_people(len(tables.liked), seed=1)
    try:
        ours, theirs = tables.embed(*probes), tower.embed(*probes).numpy()
    except (ValueError, TypeError, IndexError):
        return False
    scale = max(1.0, float(np.abs(theirs).max(initial=0.0)))
    return ours.shape == theirs.shape and bool(np.abs(ours - theirs).max() <= TOLERANCE * scale)


def made_up_people(events: int, seed: int) -> tuple[Buckets, Buckets, Buckets, Buckets]:
    """Arguments of `embed`: each of their rows filled from the front, from none of its places to all."""
    chance = np.random.default_rng(seed)
    return (
        _some(chance, LONGEST, events),
        _some(chance, TOPICS, BUCKETS),
        _some(chance, WORDS, BUCKETS),
        _some(chance, len(CELL_DEGREES), BUCKETS),
    )


def _some(chance: np.random.Generator, width: int, limit: int) -> Buckets:
    filled = np.arange(width) < np.linspace(0, width, _PROBES).round()[chance.permutation(_PROBES), np.newaxis]
    return np.where(filled, chance.integers(1, max(2, limit), (_PROBES, width)), 0).clip(0, limit - 1).astype(np.int32)


def _used(tokens: Buckets) -> Buckets:
    """Without the last places that nobody uses; rows are filled from the front."""
    return tokens[:, : int((tokens > 0).sum(axis=1).max(initial=0))]
