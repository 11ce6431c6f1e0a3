"""The rule that makes one list of recommendations out of several sources, for every possible input."""

from hypothesis import given
from hypothesis import strategies as st

from realtime.http.recommendation_merge import Candidate, merge

ids = st.sampled_from("abcdefghijkl")
sources = st.lists(ids, max_size=10)


def candidates(event_ids: list[str], reason: str) -> list[Candidate]:
    return [Candidate(event_id, reason) for event_id in event_ids]


def in_order(part: list[str], whole: list[str]) -> bool:
    """Whether `part` can be had from `whole` by leaving some out."""
    rest = iter(whole)
    return all(item in rest for item in part)


@given(sources, st.lists(sources, max_size=3), st.sets(ids), st.integers(0, 12))
def test_merge_keeps_all_its_promises(first: list[str], rest: list[list[str]], excluded: set[str], limit: int) -> None:
    fillers = [candidates(event_ids, str(n)) for n, event_ids in enumerate(rest)]
    merged = merge(candidates(first, "model"), fillers, excluded=excluded, limit=limit)
    found = [candidate.event_id for candidate in merged.items]

    assert len(found) == len(set(found))
    assert not excluded & set(found)
    available = set(first).union(*rest) - excluded
    assert len(found) == min(limit, len(available))

    preferred = [event_id for event_id in dict.fromkeys(first) if event_id not in excluded]
    by_reason = [candidate.reason for candidate in merged.items]
    assert found[: by_reason.count("model")] == preferred[:limit]
    assert merged.filled == any(reason != "model" for reason in by_reason)
    for n, event_ids in enumerate(rest):
        assert in_order([c.event_id for c in merged.items if c.reason == str(n)], event_ids)


def test_fillers_take_turns() -> None:
    merged = merge(
        [], [candidates(["a", "b", "c"], "trending"), candidates(["x", "y"], "nearby")], excluded=(), limit=4
    )
    assert [candidate.event_id for candidate in merged.items] == ["a", "x", "b", "y"]
    assert merged.filled
