"""Schedules are the seed's: the same on every machine, with every kind in its turn."""

from collections import Counter

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.chaos.schedule import BY_NAME, KINDS, WARM_UP_S, available, schedule

ALL = tuple(BY_NAME)


@given(st.integers(0, 2**32), st.floats(5, 300), st.sets(st.sampled_from(ALL), min_size=1))
@example(9236, 299.0, {"kill_host"})
def test_a_schedule_is_the_seeds_alone(seed: int, seconds: float, kinds: set[str]) -> None:
    plan = schedule(seed, seconds, tuple(kinds))
    assert plan == schedule(seed, seconds, tuple(sorted(kinds, reverse=True)))
    assert [fault.at for fault in plan] == sorted(fault.at for fault in plan)
    assert all(WARM_UP_S <= fault.at < seconds for fault in plan)
    counts = Counter(fault.kind for fault in plan)
    assert max(counts.values(), default=0) - min((counts[kind] for kind in kinds), default=0) <= 1
    for fault in plan:
        shortest, longest = BY_NAME[fault.kind].lasts
        assert shortest <= fault.lasts <= longest


def test_two_seeds_differ_and_one_is_known() -> None:
    assert schedule(7, 60, ALL) != schedule(8, 60, ALL)
    first = schedule(7, 60, ("kill_host", "kill_edge"))[0]
    assert str(first) == f"   3.0 s  {first.kind}"


def test_what_the_cluster_does_not_have_is_left_out() -> None:
    bare = available(recommender=False, commands=frozenset())
    assert not {"kill_replica", "scale_up", "drain_host"} & set(bare)
    assert set(available(recommender=True, commands=frozenset({"scale", "drain"}))) == set(ALL)
    assert available(recommender=False, commands=frozenset(), wanted=("kill_edge", "drain_edge")) == ("kill_edge",)


def test_an_unknown_kind_is_an_error() -> None:
    with pytest.raises(KeyError):
        schedule(7, 60, ("earthquake",))


def test_kinds_are_described_and_bounded() -> None:
    assert len(BY_NAME) == len(KINDS)
    for kind in KINDS:
        assert kind.says
        assert kind.lasts[0] <= kind.lasts[1] < 15
