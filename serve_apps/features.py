"""What a model sees of a person or an event: the same code for training and for serving.

Called by training and by the recommender. Pure and deterministic across processes. Text becomes tokens (topics, words
of a title, cells of the map), tokens become buckets by CRC-32. Both towers share the buckets, so an interest and a tag
of the same name meet. `FEATURE_VERSION` is stored with a model; a model of another version is refused when loaded.
"""

import re
import zlib
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from serve_apps.contracts import CatalogueEvent, ModelPerson

FEATURE_VERSION: Final = 1
BUCKETS: Final = 16_384
"""Bucket 0 means "nothing"."""
TOPICS: Final = 24
WORDS: Final = 16
CELL_DEGREES: Final = (8.0, 2.0, 0.5)
"""Sides of the map cells that a place falls into: a country, a region, a city."""

_WORD = re.compile(r"\w{2,}")
_COMMON: Final = frozenset(("and", "at", "by", "de", "der", "die", "for", "from", "in", "of", "on", "or", "the", "to"))

Buckets = npt.NDArray[np.int32]


class Features(NamedTuple):
    """Parallel columns, one row each; unused places of a row hold 0. `ids` are Python strings."""

    ids: npt.NDArray[np.object_]
    topics: Buckets
    words: Buckets
    places: Buckets

    def take(self, rows: Sequence[int]) -> "Features":
        return Features(self.ids[rows], self.topics[rows], self.words[rows], self.places[rows])


def people_features(people: Sequence[ModelPerson]) -> Features:
    """One row per person, in order."""
    features = _empty([person.user_id for person in people])
    for row, person in enumerate(people):
        _fill(features.topics[row], _topics(person.interests))
        _fill(features.places[row], _cells(person.coordinates))
    return features


def event_features(events: Sequence[CatalogueEvent]) -> Features:
    """One row per event, in order."""
    features = _empty([event.event_id for event in events])
    for row, event in enumerate(events):
        _fill(features.topics[row], _topics((event.category, *event.tags)))
        _fill(features.words[row], _words(event.title))
        _fill(features.places[row], _cells(event.coordinates))
    return features


def content_digests(features: Features) -> npt.NDArray[np.uint32]:
    """A checksum of each row's content: a stored embedding holds as long as it does not change."""
    content = np.ascontiguousarray(np.concatenate((features.topics, features.words, features.places), axis=1))
    return np.fromiter((zlib.crc32(row.tobytes()) for row in content), np.uint32, len(content))


def _empty(ids: list[str]) -> Features:
    size = len(ids)
    names = np.empty(size, dtype=object)
    names[:] = ids
    return Features(
        names,
        np.zeros((size, TOPICS), np.int32),
        np.zeros((size, WORDS), np.int32),
        np.zeros((size, len(CELL_DEGREES)), np.int32),
    )


def _fill(row: Buckets, tokens: Iterable[str]) -> None:
    """The first distinct tokens that fit."""
    buckets = list(dict.fromkeys(bucket(token) for token in tokens))[: row.size]
    row[: len(buckets)] = buckets


@lru_cache(maxsize=65_536)
def bucket(token: str) -> int:
    """1 to BUCKETS - 1, the same in every process."""
    return zlib.crc32(token.encode()) % (BUCKETS - 1) + 1


def _topics(names: Sequence[str]) -> Iterator[str]:
    """Whole names first, then the words of those that have several."""
    for name in names:
        folded = " ".join(name.casefold().split())
        if folded:
            yield folded
    for name in names:
        yield from _words(name)


def _words(text: str) -> Iterator[str]:
    for match in _WORD.finditer(text.casefold()):
        if match.group() not in _COMMON:
            yield match.group()


def _cells(coordinates: tuple[float, float] | None) -> Iterator[str]:
    if coordinates is None:
        return
    longitude, latitude = coordinates
    for degrees in CELL_DEGREES:
        yield f"cell:{degrees}:{longitude // degrees:.0f}:{latitude // degrees:.0f}"
