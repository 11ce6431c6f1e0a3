"""The evaluator against rankings worked out by hand, and against a naive one."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from serve_apps.data import Interactions
from serve_apps.evaluation import evaluate, relevant_ranks
from serve_apps.training.report import best, table, verdict


def rows(*pairs: tuple[int, int]) -> Interactions:
    people, events = np.array(pairs, np.int32).reshape(-1, 2).T
    return Interactions(people, events, np.ones(len(pairs), np.float32), np.zeros(len(pairs), np.int64))


def scores_of(*values: float) -> "np.ndarray[tuple[int], np.dtype[np.float32]]":
    return np.array(values, np.float32)


def test_by_hand() -> None:
    """Scores rank the events 3, 1, 0, 2, 4; event 3 was seen; 1 and 4 are to be found: places 1 and 4."""
    metrics = evaluate(
        lambda people: np.tile(scores_of(3, 4, 2, 9, 1), (len(people), 1)),
        rows((0, 3)),
        rows((0, 1), (0, 4)),
        cutoffs=(1, 3, 4),
    )
    assert metrics["recall@1"] == 0.5
    assert metrics["ndcg@1"] == 1.0
    assert metrics["recall@3"] == 0.5
    ideal = 1 + 1 / math.log2(3)
    assert metrics["ndcg@3"] == pytest.approx(1 / ideal)
    assert metrics["recall@4"] == 1.0
    assert metrics["ndcg@4"] == pytest.approx((1 + 1 / math.log2(5)) / ideal)


def test_the_mean_is_over_people_who_have_something_left_to_find() -> None:
    metrics = evaluate(
        lambda people: np.tile(scores_of(3, 2, 1), (len(people), 1)),
        rows((0, 1), (1, 0), (2, 2)),
        rows((0, 0), (1, 2), (2, 2)),  # person 2's only event was seen before
        cutoffs=(1,),
    )
    assert (metrics["recall@1"], metrics["ndcg@1"], metrics["people"]) == (0.5, 0.5, 2.0)


def test_a_model_that_scores_all_alike_finds_nothing() -> None:
    flat = evaluate(lambda people: np.zeros((len(people), 50), np.float32), rows((0, 0)), rows((0, 1)), cutoffs=(10,))
    assert flat["recall@10"] == 0.0


def test_what_is_no_number_comes_last() -> None:
    nothing = np.zeros(0, np.int32)
    assert relevant_ranks(scores_of(math.nan, 1, 2), np.array([0], np.int32), nothing).tolist() == [2]


def test_nobody_to_measure_gives_nothing() -> None:
    assert evaluate(lambda people: np.zeros((len(people), 2), np.float32), rows((0, 1)), rows()) == {}


def test_map_and_mrr_by_hand() -> None:
    """The ranking is 3, 1, 0, 2, 4; to find are 1 and 2: places 2 and 4."""
    metrics = evaluate(
        lambda people: np.tile(scores_of(3, 4, 2, 9, 1), (len(people), 1)), rows(), rows((0, 1), (0, 2)), cutoffs=(4,)
    )
    assert metrics["map@4"] == pytest.approx((1 / 2 + 2 / 4) / 2)
    assert metrics["mrr"] == 0.5


def test_coverage_and_novelty_by_hand() -> None:
    """Both people are shown event 1, which one of two liked, and event 2, which nobody did."""
    metrics = evaluate(
        lambda people: np.tile(scores_of(0, 9, 8, 7), (len(people), 1)),
        rows((0, 0), (1, 0), (2, 1)),
        rows((0, 1), (1, 2)),
        cutoffs=(2,),
    )
    assert metrics["coverage@2"] == 0.5
    assert metrics["novelty@2"] == pytest.approx((math.log2(3) + math.log2(6)) / 2)


def test_warmth_tells_strangers_and_new_events_apart() -> None:
    known = rows(*((0, event) for event in range(10)), (1, 0))
    metrics = evaluate(
        lambda people: np.tile(np.arange(12, dtype=np.float32), (len(people), 1)),
        known,
        rows((0, 11), (1, 3), (2, 11)),
        cutoffs=(1,),
    )
    assert metrics["ndcg@1:warm_people"] == 1.0
    assert metrics["ndcg@1:cool_people"] == 0.0
    assert metrics["ndcg@1:cold_people"] == 1.0
    assert metrics["recall@1:cold_items"] == 1.0
    assert metrics["recall@1:cool_items"] == 0.0
    assert "recall@1:warm_items" not in metrics


def naive_ranks(scores: list[float], relevant: set[int], seen: set[int]) -> list[int]:
    order = sorted(set(range(len(scores))) - seen, key=lambda event: (-scores[event], event in relevant))
    return [place for place, event in enumerate(order) if event in relevant]


@given(st.data())
def test_ranks_equal_those_of_a_plain_sort(data: st.DataObject) -> None:
    size = data.draw(st.integers(1, 30))
    # Few distinct values, so that ties are common.
    scores = data.draw(arrays.arrays(np.float32, size, elements=st.sampled_from([-1.0, 0.0, 0.5, 2.0])))
    labels = data.draw(st.lists(st.sampled_from(["relevant", "seen", "other"]), min_size=size, max_size=size))
    relevant = {event for event, label in enumerate(labels) if label == "relevant"}
    seen = {event for event, label in enumerate(labels) if label == "seen"}
    ranks = relevant_ranks(scores, np.array(sorted(relevant), np.int32), np.array(sorted(seen), np.int32))
    assert ranks.tolist() == naive_ranks(scores.tolist(), relevant, seen)


@given(st.integers(1, 6), st.integers(1, 8), st.integers(0, 1000))
def test_metrics_are_shares(people: int, events: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    pairs = [(person, event) for person in range(people) for event in range(events)]
    seen = [pair for pair in pairs if random.random() < 0.3]
    test = [pair for pair in pairs if random.random() < 0.3]
    scores = random.normal(size=(people, events)).astype(np.float32)
    metrics = evaluate(lambda rows_of: scores[rows_of], rows(*seen), rows(*test), cutoffs=(1, events))
    for name, value in metrics.items():
        if not name.startswith(("people", "novelty")):
            assert 0.0 <= value <= 1.0 + 1e-9
    if metrics:
        assert metrics[f"recall@{events}"] == 1.0


def test_a_sample_of_people_is_the_same_for_the_same_seed() -> None:
    random = np.random.default_rng(1)
    scores = random.normal(size=(50, 20)).astype(np.float32)
    test = rows(*((person, person % 20) for person in range(50)))
    one, two = (evaluate(lambda people: scores[people], rows(), test, max_people=7, seed=3) for _ in range(2))
    assert one == two
    assert one["people"] == 7


def test_the_table_says_plainly_who_wins() -> None:
    better, worse = {"ndcg@10": 0.2, "recall@10": 0.3}, {"ndcg@10": 0.1}
    assert "two_tower beats every simple model" in table({"popularity": worse, "two_tower": better})
    assert "A simple model wins on ndcg@10: ease" in verdict({"two_tower": worse, "ease": better})
    assert best({"ease": better, "two_tower": better}) == "ease"
    assert "Too little data" in table({})


def test_a_test_part_of_strangers_alone_is_told() -> None:
    metrics = evaluate(lambda people: np.ones((len(people), 3), np.float32), rows((0, 1)), rows((1, 2)))
    assert "unknown to the training part" in verdict({"popularity": metrics})
