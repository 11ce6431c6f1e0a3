"""Histories against plain lists."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from serve_apps.data import Interactions
from serve_apps.models.histories import of_interactions, of_lists

lists = st.lists(st.lists(st.integers(0, 9), max_size=8), max_size=6)


@given(lists, st.integers(1, 10))
def test_newest_first_and_nothing_after_the_end(likes: list[list[int]], longest: int) -> None:
    newest = of_lists(likes).newest(longest)
    assert newest.shape == (len(likes), longest)
    for row, one in zip(newest.tolist(), likes, strict=True):
        wanted = [event + 1 for event in reversed(one)][:longest]
        assert row == wanted + [0] * (longest - len(wanted))


@given(lists, st.integers(1, 4))
def test_shortened_keeps_the_newest(likes: list[list[int]], longest: int) -> None:
    shorter = of_lists(likes).shortened(longest)
    assert shorter.newest(9).tolist() == of_lists([one[-longest:] for one in likes]).newest(9).tolist()


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 9), st.booleans(), st.integers(0, 99)), max_size=30))
def test_likes_by_time(rows: list[tuple[int, int, bool, int]]) -> None:
    person, event, liked, at = np.array(rows, np.int64).reshape(-1, 4).T
    interactions = Interactions(person.astype(np.int32), event.astype(np.int32), liked.astype(np.float32), at)
    histories = of_interactions(interactions, 4)
    for one in range(4):
        wanted = [event for _, event in sorted((at, event) for who, event, liked, at in rows if who == one and liked)]
        assert histories.rows[histories.starts[one] : histories.starts[one + 1]].tolist() == wanted
