"""What a ranker learns from: what people did, as they and the events were at that moment.

Called by ranker training with a dataset and the two towers' vectors. It uses the very functions that serving uses
(`taste`, `feature_matrix`); a test compares the two, value by value. A person's history is what came before the
example, never the example itself or what came after. Pure NumPy; bounded by `most` examples, drawn with a seed.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from serve_apps.contracts import POSITIVE_WEIGHT, Acted, ModelPerson, RecommendationRequest
from serve_apps.data import Dataset
from serve_apps.pipeline import columns as event_columns
from serve_apps.pipeline.columns import Columns, Floats
from serve_apps.pipeline.ranking_features import MOST_HISTORY, NAMES, feature_matrix, taste

MOST_EXAMPLES: Final = 50_000
NEGATIVES: Final = 4
"""Events drawn at random for each that was liked: most of what is retrieved is not liked either."""


class Examples(NamedTuple):
    """One row a (person, event, moment). `liked` is 1 or 0; `person` and `event` are the dataset's rows."""

    features: Floats
    liked: Floats
    person: npt.NDArray[np.int32]
    event: npt.NDArray[np.int32]
    at_ms: npt.NDArray[np.int64]


def examples(
    dataset: Dataset, person_vectors: Floats, event_vectors: Floats, *, seed: int = 42, most: int = MOST_EXAMPLES
) -> Examples:
    """Rows of the vectors are the dataset's."""
    chance = np.random.default_rng(seed)
    rows = dataset.interactions
    columns = event_columns.build(dataset.events)
    order = np.lexsort((rows.event, rows.at_ms, rows.person))
    starts = np.searchsorted(rows.person[order], np.arange(len(dataset.people) + 1))
    wanted = np.zeros(len(rows), bool)
    share = max(1, most // (1 + NEGATIVES))
    wanted[chance.permutation(len(rows))[:share]] = True
    owned = [order[starts[person] : starts[person + 1]] for person in range(len(dataset.people))]
    parts = [
        _at(dataset, columns, own, place, person_vectors, event_vectors, chance)
        for own in owned
        for place in np.flatnonzero(wanted[own]).tolist()
    ]
    if not parts:
        nothing = np.zeros(0, np.int32)
        return Examples(
            np.zeros((0, len(NAMES)), np.float32), np.zeros(0, np.float32), nothing, nothing, np.zeros(0, np.int64)
        )
    return Examples(*(np.concatenate([part[column] for part in parts]) for column in range(len(Examples._fields))))


def request_at(person: ModelPerson, past: Sequence[Acted]) -> RecommendationRequest:
    """The request that the person would have made with this past, newest first."""
    return RecommendationRequest(
        user_id=person.user_id,
        limit=1,
        interests=person.interests,
        coordinates=person.coordinates,
        history=tuple(past[:MOST_HISTORY]),
    )


def _at(
    dataset: Dataset,
    columns: Columns,
    own: npt.NDArray[np.int64],
    place: int,
    person_vectors: Floats,
    event_vectors: Floats,
    chance: np.random.Generator,
) -> Examples:
    rows = dataset.interactions
    row = int(own[place])
    person, at_ms = int(rows.person[row]), int(rows.at_ms[row])
    past = [
        Acted(dataset.events[int(rows.event[before])].event_id, float(rows.weight[before]), int(rows.at_ms[before]))
        for before in own[max(0, place - MOST_HISTORY) : place][::-1].tolist()
        if rows.at_ms[before] < at_ms
    ]
    request = request_at(dataset.people[person], past)
    known = taste(request, columns)
    liked = rows.weight[row] >= POSITIVE_WEIGHT
    others = chance.integers(0, len(dataset.events), NEGATIVES if liked else 0)
    events = np.concatenate(([int(rows.event[row])], others)).astype(np.int64)
    tower = event_vectors[events] @ person_vectors[person]
    mean = event_vectors[known.liked_rows].mean(axis=0) if known.liked_rows.size else None
    alike = np.zeros(events.size, np.float32) if mean is None else event_vectors[events] @ mean
    labels = np.zeros(events.size, np.float32)
    labels[0] = float(liked)
    return Examples(
        feature_matrix(request, known, columns, events, tower, alike, at_ms),
        labels,
        np.full(events.size, person, np.int32),
        events.astype(np.int32),
        np.full(events.size, at_ms, np.int64),
    )
