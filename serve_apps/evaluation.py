"""How good a ranking is: full sort over every event, seen events removed, ties never in a model's favour.

Called by training and the command line. Pure NumPy. A person counts when they have something left to find. With R
events to find: recall@k is found / R; ndcg@k has a gain of one per found event and divides by the best possible order;
map@k adds the precision at each found event and divides by min(R, k); mrr is 1 / place of the first. coverage@k is the
share of all events that somebody is shown, novelty@k the mean surprise (-log2 of the share of people who liked it) of
what is shown. When scores tie, events that are wrong come first, so a model that scores all alike gains nothing.
"""

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from serve_apps.data import Interactions, Rows
from serve_apps.metrics import CUTOFFS, Metrics

WARM_FROM: Final = 10
"""Likes in training from which a person or an event is warm; without any it is cold, between them cool."""
_WARMTHS: Final = ("cold", "cool", "warm")

Scores = npt.NDArray[np.float32]
Scorer = Callable[[Rows], Scores]
"""Rows of people to scores of all events, one row each."""

_BLOCK: Final = 256
_NOTHING: Final = np.zeros(0, np.int32)


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

    `seen` events of a person are taken out of the ranking; a test event that is also seen does not count. Metrics of
    people or events by warmth have names such as `ndcg@10:cold_people` and are left out where there are none.
    """
    to_find, known = _by_person(test), _by_person(seen)
    left = (person for person, events in to_find.items() if np.setdiff1d(events, known.get(person, _NOTHING)).size)
    people = np.array(sorted(left), np.int32)
    if people.size > max_people:
        people = np.sort(np.random.default_rng(seed).choice(people, max_people, replace=False))
    if not people.size:
        return {}
    tally = _Tally(tuple(cutoffs), seen)
    for start in range(0, people.size, _BLOCK):
        block = people[start : start + _BLOCK]
        for person, scores in zip(block.tolist(), _clean(scorer(block)), strict=True):
            seen_events = known.get(person, _NOTHING)
            tally.add(scores, np.setdiff1d(to_find[person], seen_events), seen_events)
    return tally.metrics()


def relevant_ranks(scores: npt.NDArray[np.floating], relevant: Rows, seen: Rows) -> npt.NDArray[np.int64]:
    """The places (0 is first) of `relevant`, best first, in the ranking without `seen`; what is no number is last."""
    clean = _clean(scores)
    return _ranks(clean, relevant, seen)[1]


class _Person(NamedTuple):
    """What one ranking gave: its values by metric, how warm its person is, and what it found of events by warmth."""

    values: list[float]
    warmth: int
    found: npt.NDArray[np.int64]
    to_find: npt.NDArray[np.int64]


class _Tally:
    """Adds up rankings, one person at a time."""

    def __init__(self, cutoffs: tuple[int, ...], seen: Interactions) -> None:
        self._cutoffs = cutoffs
        self._people: list[_Person] = []
        self._seen_counts = np.bincount(seen.event, minlength=1)
        self._likers = max(np.unique(seen.person).size, 1)
        self._shown: npt.NDArray[np.int64] = np.zeros((len(cutoffs), 0), np.int64)
        self._surprise = np.zeros(len(cutoffs))

    def add(self, scores: npt.NDArray[np.float64], relevant: Rows, seen: Rows) -> None:
        if self._shown.shape[1] != scores.size:
            self._shown = np.zeros((len(self._cutoffs), scores.size), np.int64)
            self._seen_counts = np.bincount(np.arange(0), minlength=scores.size) + np.pad(
                self._seen_counts, (0, max(0, scores.size - self._seen_counts.size))
            )
        order, ranks = _ranks(scores, relevant, seen)
        values = [value for k in self._cutoffs for value in (_recall(ranks, k), _ndcg(ranks, k), _map(ranks, k))]
        warmth = _warmth(self._seen_counts[order])
        found = np.bincount(warmth[ranks < self._cutoffs[0]], minlength=3)
        self._people.append(
            _Person(
                [*values, 1.0 / (1.0 + ranks[0])],
                int(_warmth(np.array([seen.size]))[0]),
                found,
                np.bincount(warmth, minlength=3),
            )
        )
        self._show(scores, seen)

    def _show(self, scores: npt.NDArray[np.float64], seen: Rows) -> None:
        left = scores.copy()
        left[seen] = -np.inf
        longest = min(max(self._cutoffs), left.size)
        top = np.argpartition(-left, longest - 1)[:longest]
        top = top[np.argsort(-left[top], kind="stable")]
        top = top[left[top] > -np.inf]
        surprise = -np.log2(np.maximum(self._seen_counts[top], 0.5) / self._likers)
        for row, k in enumerate(self._cutoffs):
            self._shown[row, top[:k]] += 1
            self._surprise[row] += surprise[:k].sum()

    def metrics(self) -> Metrics:
        names = [name for k in self._cutoffs for name in (f"recall@{k}", f"ndcg@{k}", f"map@{k}")] + ["mrr"]
        values = np.array([person.values for person in self._people])
        metrics = dict(zip(names, values.mean(axis=0).tolist(), strict=True))
        for row, k in enumerate(self._cutoffs):
            shown = self._shown[row]
            metrics[f"coverage@{k}"] = float((shown > 0).mean())
            metrics[f"novelty@{k}"] = float(self._surprise[row] / max(int(shown.sum()), 1))
        metrics["people"] = float(len(self._people))
        return metrics | self._by_warmth(values)

    def _by_warmth(self, values: npt.NDArray[np.float64]) -> Metrics:
        metrics: Metrics = {}
        warmth = np.array([person.warmth for person in self._people])
        found = np.sum([person.found for person in self._people], axis=0)
        to_find = np.sum([person.to_find for person in self._people], axis=0)
        first = self._cutoffs[0]
        for level, name in enumerate(_WARMTHS):
            of_level = warmth == level
            if of_level.any():
                metrics[f"ndcg@{first}:{name}_people"] = float(values[of_level, 1].mean())
                metrics[f"people:{name}"] = float(of_level.sum())
            if to_find[level]:
                metrics[f"recall@{first}:{name}_items"] = float(found[level] / to_find[level])
        return metrics


def _ranks(
    clean: npt.NDArray[np.float64], relevant: Rows, seen: Rows
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """The relevant events, best first, and their places."""
    wrong = np.ones(clean.size, bool)
    wrong[seen] = wrong[relevant] = False
    order = relevant[np.argsort(-clean[relevant], kind="stable")]
    ordered = np.sort(clean[wrong])
    at_least_as_good = ordered.size - np.searchsorted(ordered, clean[order], side="left")
    return order.astype(np.int64), at_least_as_good + np.arange(order.size)


def _clean(scores: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    return np.nan_to_num(scores.astype(np.float64), nan=-np.inf, neginf=-np.inf, posinf=np.inf)


def _warmth(counts: npt.NDArray[np.integer]) -> npt.NDArray[np.int64]:
    return (counts > 0).astype(np.int64) + (counts >= WARM_FROM)


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


def _map(ranks: npt.NDArray[np.int64], k: int) -> float:
    near = ranks[ranks < k]
    return float(((np.arange(near.size) + 1) / (near + 1.0)).sum() / min(k, ranks.size))
