"""Measures rankers on prepared features: a file with a line per (group, item) pair, a label, and columns of features.

Called by the command line (`flow train --rank-groups`). Groups are people, sessions or lists; a ranker orders each
group's items. Folds are by group, so a group is never in the part that is learned from and in the part that is measured
at once. Numbers are taken as they are, times as seconds, other texts as codes; what is empty or no finite number is
unknown. Beside each number stands its place within its group, because a ranker compares and does not judge alone.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from cluster.kernel.errors import TRAINING_DATA_INVALID, FlowError
from serve_apps import csv_table
from serve_apps.csv_data import ITEM_COLUMNS, RATING_COLUMNS, USER_COLUMNS, ColumnNames
from serve_apps.csv_table import invalid
from serve_apps.metrics import Metrics
from serve_apps.training.csv_features import Remarks
from serve_apps.training.settings import Progress, TrainingProgress

FOLDS: Final = 5
MOST_ROWS: Final = 1_000_000
_GROUP_COLUMNS: Final = ("group", "group_id", *USER_COLUMNS)
_LABEL_COLUMNS: Final = ("label", "target", "relevance", "interested", *RATING_COLUMNS)
_ENSEMBLE: Final = 3
_SMALL: Final = 50_000

Matrix = npt.NDArray[np.float64]
Ranker = Callable[[Matrix, npt.NDArray[np.bool_], Matrix], npt.NDArray[np.float64]]
"""Features and labels to learn from, features to score: a score a row."""


@dataclass(frozen=True, slots=True)
class RankingData:
    """`group[i]` is the group of row i; NaN in `features` is unknown."""

    group: npt.NDArray[np.int64]
    relevant: npt.NDArray[np.bool_]
    features: Matrix
    names: tuple[str, ...]


def read(path: Path, columns: ColumnNames, positive: float | None, remarks: Remarks) -> RankingData:
    """Raises FlowError TRAINING_DATA_INVALID with the line. Blocks."""
    reading = csv_table.cells(path)
    names = [name.strip().casefold() for name in next(reading)[1]]
    group = _position(path, names, "group or user", columns.user, _GROUP_COLUMNS)
    item = _position(path, names, "item", columns.item, ITEM_COLUMNS)
    label = _position(path, names, "label", columns.label, _LABEL_COLUMNS)
    groups: dict[str, int] = {}
    pairs: set[tuple[int, str]] = set()
    of_rows: list[int] = []
    relevant: list[bool] = []
    cells: list[list[str]] = []
    for line, row in reading:
        csv_table.checked(path, line, row, len(names))
        of_row = groups.setdefault(csv_table.identifier(path, line, "group", row[group]), len(groups))
        pair = (of_row, csv_table.identifier(path, line, "item", row[item]))
        if pair in pairs:
            raise invalid(path, line, "this pair has a line already")
        if len(pairs) >= MOST_ROWS:
            raise invalid(path, line, f"more than {MOST_ROWS:,} lines")
        pairs.add(pair)
        of_rows.append(of_row)
        relevant.append(_label(path, line, row[label]) >= (0.5 if positive is None else positive))
        cells.append(row)
    features = [index for index in range(len(names)) if index not in (group, item, label)]
    if not features:
        raise invalid(path, 1, "no column is left for features")
    matrix = [_numbers(path, names[index], [row[index].strip() for row in cells], remarks) for index in features]
    data = RankingData(
        np.array(of_rows, np.int64),
        np.array(relevant, bool),
        np.column_stack(matrix) if cells else np.zeros((0, len(features))),
        tuple(names[index] for index in features),
    )
    _check(path, data)
    return data


def measure(data: RankingData, seed: int, progress: Progress) -> dict[str, Metrics]:
    """MAP and MRR of each ranker over the groups that have something to find, each scored by what it was not in."""
    import sklearn.ensemble  # noqa: F401 - a limit holds for the libraries that are loaded by then
    from threadpoolctl import threadpool_limits

    # Threads that wait for each other in a loop cost more than they give when there is little to do.
    with threadpool_limits(1 if len(data.group) < _SMALL else None):
        return _measure(data, seed, progress)


def _measure(data: RankingData, seed: int, progress: Progress) -> dict[str, Metrics]:
    from sklearn.model_selection import GroupKFold

    features = with_places(data)
    folds = list(GroupKFold(min(FOLDS, int(data.group.max()) + 1)).split(features, groups=data.group))
    scores = {name: np.zeros(len(data.group)) for name in _RANKERS}
    for fold, (known, unknown) in enumerate(folds):
        for name, ranker in _RANKERS.items():
            progress(TrainingProgress(f"fitting {name}", fold + 1, len(folds)))
            if data.relevant[known].any() and not data.relevant[known].all():
                scores[name][unknown] = ranker(seed)(features[known], data.relevant[known], features[unknown])
    scores["blend"] = _places(scores["gradient_boosting"], data.group) + _places(scores["extra_trees"], data.group)
    return {name: _metrics(data, of_ranker) for name, of_ranker in scores.items()}


def with_places(data: RankingData) -> Matrix:
    """The features, each one's place within its group from 0 to 1, its distance from the group's mean, group size."""
    parts = [data.features]
    sizes = np.bincount(data.group)
    for column in data.features.T:
        if np.isnan(column).all():
            continue
        known = ~np.isnan(column)
        total = np.bincount(data.group, weights=np.where(known, column, 0.0))
        count = np.maximum(np.bincount(data.group, weights=known), 1)
        parts += [_places(column, data.group)[:, None], (column - (total / count)[data.group])[:, None]]
    return np.column_stack([*parts, sizes[data.group]])


def average_precision(scores: npt.NDArray[np.float64], relevant: npt.NDArray[np.bool_]) -> float:
    """Mean of the precision at each relevant item; when scores tie, irrelevant items come first."""
    order = np.lexsort((relevant, -scores))
    hits = relevant[order]
    places = np.flatnonzero(hits) + 1
    return float((np.arange(1, places.size + 1) / places).mean())


def _metrics(data: RankingData, scores: npt.NDArray[np.float64]) -> Metrics:
    precisions, reciprocals = [], []
    order = np.argsort(data.group, kind="stable")
    starts = np.flatnonzero(np.diff(data.group[order])) + 1
    for rows in np.split(order, starts):
        if data.relevant[rows].any():
            precisions.append(average_precision(scores[rows], data.relevant[rows]))
            ranked = data.relevant[rows][np.lexsort((data.relevant[rows], -scores[rows]))]
            reciprocals.append(1.0 / (int(np.argmax(ranked)) + 1))
    return {"map": float(np.mean(precisions)), "mrr": float(np.mean(reciprocals)), "groups": float(len(precisions))}


def _places(column: npt.NDArray[np.float64], group: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """The mean place of each value within its group, 0 for the smallest to 1; NaN stays NaN."""
    order = np.lexsort((column, group))
    found = np.full(column.size, np.nan)
    for rows in np.split(order, np.flatnonzero(np.diff(group[order])) + 1):
        known = rows[~np.isnan(column[rows])]
        if known.size:
            _, inverse, counts = np.unique(column[known], return_inverse=True, return_counts=True)
            last = np.cumsum(counts)
            middle = last - (counts + 1) / 2
            found[known] = middle[inverse] / max(known.size - 1, 1)
    return found


def _random(seed: int) -> Ranker:
    return lambda known, relevant, unknown: np.random.default_rng(seed).random(len(unknown))


def _best_feature(seed: int) -> Ranker:
    """The one column, in the one direction, that tells relevant rows apart best (by the mean difference of places)."""

    def rank(known: Matrix, relevant: npt.NDArray[np.bool_], unknown: Matrix) -> npt.NDArray[np.float64]:
        filled = np.nan_to_num(known, nan=0.0, posinf=0.0, neginf=0.0)
        places = filled.argsort(axis=0).argsort(axis=0)
        difference = places[relevant].mean(axis=0) - places[~relevant].mean(axis=0)
        column = int(np.argmax(np.abs(difference)))
        scores: npt.NDArray[np.float64] = np.nan_to_num(unknown[:, column], nan=0.0) * np.sign(difference[column])
        return scores

    return rank


def _gradient_boosting(seed: int) -> Ranker:
    from sklearn.ensemble import HistGradientBoostingClassifier

    def rank(known: Matrix, relevant: npt.NDArray[np.bool_], unknown: Matrix) -> npt.NDArray[np.float64]:
        models = (
            HistGradientBoostingClassifier(
                learning_rate=0.05,
                max_iter=200,
                max_leaf_nodes=15,
                min_samples_leaf=20,
                l2_regularization=1.0,
                max_features=0.5,
                random_state=seed + number,
            )
            for number in range(_ENSEMBLE)
        )
        total: npt.NDArray[np.float64] = sum(
            model.fit(known, relevant).predict_proba(unknown)[:, 1] for model in models
        )
        return total

    return rank


def _extra_trees(seed: int) -> Ranker:
    from sklearn.ensemble import ExtraTreesClassifier

    def rank(known: Matrix, relevant: npt.NDArray[np.bool_], unknown: Matrix) -> npt.NDArray[np.float64]:
        model = ExtraTreesClassifier(300, min_samples_leaf=3, max_features=0.5, random_state=seed, n_jobs=1)
        scores: npt.NDArray[np.float64] = model.fit(known, relevant).predict_proba(unknown)[:, 1]
        return scores

    return rank


_RANKERS: Final[dict[str, Callable[[int], Ranker]]] = {
    "random": _random,
    "best_feature": _best_feature,
    "gradient_boosting": _gradient_boosting,
    "extra_trees": _extra_trees,
}


def _position(path: Path, names: list[str], what: str, named: str | None, choices: Sequence[str]) -> int:
    wanted = choices if named is None else (named.strip().casefold(),)
    for choice in wanted:
        if names.count(choice) == 1:
            return names.index(choice)
    raise invalid(path, 1, f"no column, or more than one, for the {what}; it may be called {', '.join(wanted)}")


def _label(path: Path, line: int, text: str) -> float:
    try:
        label = float(text)
    except ValueError:
        label = math.nan
    if not math.isfinite(label):
        raise invalid(path, line, f"the label {text.strip()[:40]!r} is not a finite number")
    return label


def _numbers(path: Path, name: str, texts: list[str], remarks: Remarks) -> npt.NDArray[np.float64]:
    """A column as numbers: as they are, as seconds, or as codes of its distinct texts."""
    known = [text for text in texts if text]
    for parse in (float, _seconds):
        try:
            values = np.array([parse(text) if text else math.nan for text in texts], np.float64)
        except ValueError:
            continue
        odd = int((~np.isfinite(values)).sum()) - (len(texts) - len(known))
        if odd:
            remarks.not_finite[f"{path.name}, {name}"] = odd
        return np.where(np.isfinite(values), values, np.nan)
    codes = {text: float(code) for code, text in enumerate(sorted(set(known)))}
    return np.array([codes.get(text, math.nan) for text in texts], np.float64)


def _seconds(text: str) -> float:
    moment: Any = datetime.fromisoformat(text)
    return float((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())


def _check(path: Path, data: RankingData) -> None:
    if data.group.size == 0 or int(data.group.max()) == 0:
        raise FlowError(TRAINING_DATA_INVALID, f"{path.name} has fewer than two groups: nothing can be held out.")
    if not data.relevant.any() or data.relevant.all():
        raise FlowError(TRAINING_DATA_INVALID, f"All labels of {path.name} say the same: there is nothing to rank.")
