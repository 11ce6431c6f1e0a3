"""What a ranker learns from: what people did, as they and the events were at that moment.

Called by training with a dataset and a fitted model. It uses the very functions that serving uses (`taste`,
`standing`, `feature_matrix`); a test compares the two, value by value. A person, the model's vector included, is what
came before the example, never the example itself or what came after. Pure NumPy; bounded by `most` examples, drawn with
a seed.
"""

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from serve_apps.contracts import POSITIVE_WEIGHT, Acted, ModelPerson, RecommendationRequest
from serve_apps.data import Dataset
from serve_apps.models.histories import Histories, of_lists
from serve_apps.pipeline import columns as event_columns
from serve_apps.pipeline.columns import Columns, Floats
from serve_apps.pipeline.ranking_features import MOST_HISTORY, NAMES, feature_matrix, taste
from serve_apps.pipeline.standing import Standing, standing

MOST_EXAMPLES: Final = 50_000
NEGATIVES: Final = 4
"""Events drawn at random for each that was liked: most of what is retrieved is not liked either."""


PeopleAt = Callable[[Histories, npt.NDArray[np.int32]], Floats]
"""Histories, and whose they are (the dataset's rows), to the model's vectors of these people."""


class Examples(NamedTuple):
    """One row a (person, event, moment). `liked` is 1 or 0; `person` and `event` are the dataset's rows."""

    features: Floats
    liked: Floats
    person: npt.NDArray[np.int32]
    event: npt.NDArray[np.int32]
    at_ms: npt.NDArray[np.int64]


class _Moment(NamedTuple):
    """An interaction (a row of the dataset's) and those of the person before it, newest first."""

    row: int
    past: npt.NDArray[np.int64]


def examples(
    dataset: Dataset, people_at: PeopleAt, event_vectors: Floats, *, seed: int = 42, most: int = MOST_EXAMPLES
) -> Examples:
    """Rows of `event_vectors` are the dataset's events."""
    chance = np.random.default_rng(seed)
    moments = _moments(dataset, max(1, most // (1 + NEGATIVES)), chance)
    if not moments:
        nothing = np.zeros(0, np.int32)
        return Examples(
            np.zeros((0, len(NAMES)), np.float32), np.zeros(0, np.float32), nothing, nothing, np.zeros(0, np.int64)
        )
    rows = dataset.interactions
    likes = [rows.event[one.past[rows.weight[one.past] >= POSITIVE_WEIGHT]][::-1] for one in moments]
    people = people_at(of_lists(likes), rows.person[[one.row for one in moments]])
    columns, scale = event_columns.build(dataset.events), standing(event_vectors)
    parts = [
        _at(dataset, columns, moment, vector, event_vectors, scale, chance)
        for moment, vector in zip(moments, people, strict=True)
    ]
    return Examples(*(np.concatenate([part[column] for part in parts]) for column in range(len(Examples._fields))))


def _moments(dataset: Dataset, most: int, chance: np.random.Generator) -> list[_Moment]:
    rows = dataset.interactions
    order = np.lexsort((rows.event, rows.at_ms, rows.person))
    starts = np.searchsorted(rows.person[order], np.arange(len(dataset.people) + 1))
    wanted = np.zeros(len(rows), bool)
    wanted[chance.permutation(len(rows))[:most]] = True
    found = []
    for place in np.flatnonzero(wanted[order]).tolist():
        row = int(order[place])
        first = max(int(starts[rows.person[row]]), place - MOST_HISTORY)
        past = order[first:place][::-1]
        found.append(_Moment(row, past[rows.at_ms[past] < rows.at_ms[row]]))
    return found


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
    moment: _Moment,
    vector: Floats,
    event_vectors: Floats,
    scale: Standing | None,
    chance: np.random.Generator,
) -> Examples:
    rows, row = dataset.interactions, moment.row
    person, at_ms = int(rows.person[row]), int(rows.at_ms[row])
    past = [
        Acted(dataset.events[int(rows.event[before])].event_id, float(rows.weight[before]), int(rows.at_ms[before]))
        for before in moment.past.tolist()
    ]
    request = request_at(dataset.people[person], past)
    known = taste(request, columns)
    liked = rows.weight[row] >= POSITIVE_WEIGHT
    others = chance.integers(0, len(dataset.events), NEGATIVES if liked else 0)
    events = np.concatenate(([int(rows.event[row])], others)).astype(np.int64)
    looks = vector[np.newaxis, :]
    if known.liked_rows.size:
        looks = np.vstack((looks, event_vectors[known.liked_rows].mean(axis=0)))
    scores = looks @ event_vectors[events].T
    if scale is not None:
        scores = scale.of(looks, scores)
    alike = scores[1] if known.liked_rows.size else np.zeros(events.size, np.float32)
    labels = np.zeros(events.size, np.float32)
    labels[0] = float(liked)
    return Examples(
        feature_matrix(request, known, columns, events, scores[0], alike, at_ms),
        labels,
        np.full(events.size, person, np.int32),
        events.astype(np.int32),
        np.full(events.size, at_ms, np.int64),
    )
