"""How good a ranking is: full sort over every event, seen events removed, ties never in a model's favour.

Called by training and the command line. Pure NumPy. A person counts when they have something left to find. Recall@k is
found / all that could be found; NDCG@k has a gain of one per found event and divides by the best possible order. When
scores tie, events that are wrong come first, so a model that scores all alike gains nothing.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from serve_apps.data import Interactions, Rows

CUTOFFS: Final = (10, 20)
GATE: Final = "ndcg@10"
"""The metric by which models are compared in a sentence."""

Scores = npt.NDArray[np.float32]
Metrics = dict[str, float]
Scorer = Callable[[Rows], Scores]
"""Rows of people to scores of all events, one row each."""

_BLOCK: Final = 256
_NOTHING: Final = np.zeros(0, np.int32)


def popularity(train: Interactions, event_count: int) -> Scorer:
    """Everybody gets what most people did."""
    counts = np.bincount(train.event, minlength=event_count).astype(np.float32)
    return lambda people: np.repeat(counts[np.newaxis, :], len(people), axis=0)


def evaluate(
    scorer: Scorer,
    seen: Interactions,
    test: Interactions,
    *,
    cutoffs: Sequence[int] = CUTOFFS,
    max_people: int = 5_000,
    seed: int = 0,
) -> Metrics:
    """Mean metrics over the people of `test`, or over a seeded sample of `max_people` of them; {} when there is nobody.

    `seen` events of a person are taken out of the ranking; a test event that is also seen does not count.
    """
    to_find, known = _by_person(test), _by_person(seen)
    left = (person for person, events in to_find.items() if np.setdiff1d(events, known.get(person, _NOTHING)).size)
    people = np.array(sorted(left), np.int32)
    if people.size > max_people:
        people = np.sort(np.random.default_rng(seed).choice(people, max_people, replace=False))
    rows: list[list[float]] = []
    for start in range(0, people.size, _BLOCK):
        block = people[start : start + _BLOCK]
        for person, scores in zip(block.tolist(), scorer(block), strict=True):
            seen_events = known.get(person, _NOTHING)
            ranks = relevant_ranks(scores, np.setdiff1d(to_find[person], seen_events), seen_events)
            rows.append([value for k in cutoffs for value in (_recall(ranks, k), _ndcg(ranks, k))])
    if not rows:
        return {}
    names = [name for k in cutoffs for name in (f"recall@{k}", f"ndcg@{k}")]
    return dict(zip(names, np.mean(rows, axis=0).tolist(), strict=True)) | {"people": float(len(rows))}


def relevant_ranks(scores: Scores, relevant: Rows, seen: Rows) -> npt.NDArray[np.int64]:
    """The places (0 is first) of `relevant` in the ranking without `seen`, ascending; what is no number is last."""
    clean = np.nan_to_num(scores.astype(np.float64), nan=-np.inf, neginf=-np.inf, posinf=np.inf)
    wrong = np.ones(clean.size, bool)
    wrong[seen] = wrong[relevant] = False
    ordered = np.sort(clean[wrong])
    found = np.sort(clean[relevant])[::-1]
    at_least_as_good = ordered.size - np.searchsorted(ordered, found, side="left")
    return at_least_as_good + np.arange(found.size)


def table(results: Mapping[str, Metrics]) -> str:
    """Plain text, one row per model, and a sentence that says which is best."""
    columns = list(dict.fromkeys(name for metrics in results.values() for name in metrics))
    width = max((len(name) for name in results), default=5)
    lines = [" ".join([f"{'model':<{width}}", *(f"{column:>10}" for column in columns)])]
    for name, metrics in results.items():
        cells = (f"{metrics[column]:10.4f}" if column in metrics else f"{'-':>10}" for column in columns)
        lines.append(" ".join([f"{name:<{width}}", *cells]))
    return "\n".join([*lines, verdict(results)])


def verdict(results: Mapping[str, Metrics], model: str = "two_tower", baseline: str = "popularity") -> str:
    """Whether the model is worth having, said plainly."""
    if GATE not in results.get(model, {}) or GATE not in results.get(baseline, {}):
        return "Too little data to compare models: nobody has something left to find."
    ours, theirs = results[model][GATE], results[baseline][GATE]
    if ours > theirs:
        return f"{model} beats {baseline} on {GATE}: {ours:.4f} against {theirs:.4f}."
    if ours == theirs:
        return f"{model} is no better than {baseline} on {GATE}: both {ours:.4f}."
    return f"{baseline.capitalize()} wins on {GATE}: {theirs:.4f} against {ours:.4f}. {model} is not worth serving yet."


def _by_person(interactions: Interactions) -> dict[int, Rows]:
    if not len(interactions):
        return {}
    order = np.argsort(interactions.person, kind="stable")
    people, starts = np.unique(interactions.person[order], return_index=True)
    return dict(zip(people.tolist(), np.split(interactions.event[order], starts[1:]), strict=True))


def _recall(ranks: npt.NDArray[np.int64], k: int) -> float:
    return float((ranks < k).sum() / ranks.size)


def _ndcg(ranks: npt.NDArray[np.int64], k: int) -> float:
    gain = (1.0 / np.log2(ranks[ranks < k] + 2.0)).sum()
    ideal = (1.0 / np.log2(np.arange(min(k, ranks.size)) + 2.0)).sum()
    return float(gain / ideal)
