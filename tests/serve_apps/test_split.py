"""The split: each person's newest likes are held out, and nothing after them is learned from."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from serve_apps.contracts import POSITIVE_WEIGHT
from serve_apps.data import Interactions
from serve_apps.training.split import split_at_one_time, split_by_time

row = st.tuples(st.integers(0, 3), st.integers(0, 50), st.sampled_from([0.0, 0.4, 0.5, 1.0]), st.integers(0, 20))


@given(st.lists(row, max_size=60), st.sampled_from([0.1, 0.2, 0.5]))
def test_training_never_sees_the_future(rows: list[tuple[int, int, float, int]], fraction: float) -> None:
    people, events, weights, times = np.array(rows).reshape(-1, 4).T
    everything = Interactions(
        people.astype(np.int32), events.astype(np.int32), weights.astype(np.float32), times.astype(np.int64)
    )
    train, test = split_by_time(everything, fraction)
    assert (test.weight >= POSITIVE_WEIGHT).all()
    for person in range(4):
        likes = int(((people == person) & (weights >= POSITIVE_WEIGHT)).sum())
        held_out = test.at_ms[test.person == person]
        learned = train.at_ms[train.person == person]
        assert held_out.size == int(likes * fraction)
        if held_out.size and learned.size:
            assert learned.max() <= held_out.min()
        if not held_out.size:
            assert learned.size == int((people == person).sum())


@given(st.lists(row, max_size=60), st.sampled_from([0.1, 0.2, 0.5]))
def test_one_time_for_all_parts_past_and_future(rows: list[tuple[int, int, float, int]], fraction: float) -> None:
    people, events, weights, times = np.array(rows).reshape(-1, 4).T
    everything = Interactions(
        people.astype(np.int32), events.astype(np.int32), weights.astype(np.float32), times.astype(np.int64)
    )
    train, test = split_at_one_time(everything, fraction)
    assert (test.weight >= POSITIVE_WEIGHT).all()
    if len(test) and len(train):
        assert train.at_ms.max() < test.at_ms.min()
