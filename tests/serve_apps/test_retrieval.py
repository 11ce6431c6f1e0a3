"""Exact search: the true best, and never an event that must not be shown."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from serve_apps.retrieval import CandidateIndex, Query
from tests.serve_apps.builders import event

NOW = 1_000


@given(st.data())
def test_equals_a_plain_sort_of_what_may_be_shown(data: st.DataObject) -> None:
    count = data.draw(st.integers(0, 25))
    value = st.sampled_from([-1.0, 0.0, 0.5, 1.0, float("nan")])
    vectors = data.draw(arrays.arrays(np.float32, (count, 2), elements=value))
    flags = data.draw(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=count, max_size=count))
    events = [
        event(f"e{number}", end_ms=NOW + 1 if live else NOW, is_public=public)
        for number, (live, public) in enumerate(flags)
    ]
    excluded = data.draw(st.sets(st.sampled_from([*(one.event_id for one in events), "unknown"])))
    limit = data.draw(st.integers(1, 30))
    query = data.draw(arrays.arrays(np.float32, (1, 2), elements=st.sampled_from([-1.0, 0.25, 1.0])))

    [found] = CandidateIndex(events, vectors).search([Query(limit, excluded)], query, NOW)

    scores = vectors @ query[0]
    allowed = [
        number
        for number, one in enumerate(events)
        if one.is_public and one.end_ms > NOW and one.event_id not in excluded and np.isfinite(vectors[number]).all()
    ]
    expected = sorted(allowed, key=lambda number: -scores[number])[:limit]
    assert [scored.event_id for scored in found] == [events[number].event_id for number in expected]


def test_each_query_of_a_batch_has_its_own_limit_and_exclusions() -> None:
    index = CandidateIndex([event("a"), event("b"), event("c")], np.array([[3.0], [2.0], [1.0]], np.float32))
    one, two = index.search([Query(1, ["a"]), Query(5, ["c", "b"])], np.ones((2, 1), np.float32), NOW)
    assert [scored.event_id for scored in one] == ["b"]
    assert [scored.event_id for scored in two] == ["a"]


def test_vectors_that_are_not_finite_are_counted() -> None:
    index = CandidateIndex([event("a"), event("b")], np.array([[np.inf], [1.0]], np.float32))
    assert (index.dropped, len(index)) == (1, 1)
