"""The arithmetic that latencies stand on."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.load.orders import Load
from benchmarks.openloop import Schedule
from benchmarks.outcome import Check, median_row
from benchmarks.percentiles import percentile


def test_a_stall_delays_no_intended_time() -> None:
    schedule = Schedule(10.0, [(100, 1)])
    assert list(schedule.due(9.99)) == []
    assert list(schedule.due(10.0)) == [10.0]
    late = list(schedule.due(10.5))  # half a second in which nothing was asked
    assert late == pytest.approx([10.0 + index / 100 for index in range(1, 51)])
    # A message that left at 10.5 and was answered at once has waited since it ought to have left.
    assert 10.5 - late[0] == pytest.approx(0.49)


@given(st.floats(0.5, 5_000), st.floats(0.01, 5), st.lists(st.floats(0, 6), max_size=50))
def test_each_message_is_due_once_and_none_is_left_out(rate: float, seconds: float, looks: list[float]) -> None:
    schedule = Schedule(0.0, [(rate, seconds)])
    given_out = [moment for look in sorted(looks) for moment in schedule.due(look)]
    given_out += schedule.due(float("inf"))
    assert schedule.is_over
    assert given_out == [schedule.intended(index) for index in range(schedule.total)]
    assert all(moment < seconds for moment in given_out)


def test_a_surge_is_as_many_as_its_rate_and_its_length_say() -> None:
    schedule = Schedule(0.0, Load(0.0, 1.0, 9.0, (), rate=10, surge=(2.0, 3.0, 10.0)).phases)
    moments = list(schedule.due(float("inf")))
    assert len(moments) == 30 + 300 + 40
    assert moments == sorted(moments)
    assert sum(3.0 <= moment < 6.0 for moment in moments) == 300


@pytest.mark.parametrize(("share", "value"), [(0.5, 50), (0.99, 99), (1.0, 100), (0.0, 1), (0.995, 100)])
def test_a_percentile_is_a_value_that_was_measured(share: float, value: int) -> None:
    assert percentile(list(range(100, 0, -1)), share) == value


@given(st.lists(st.floats(0, 1e6), min_size=1), st.floats(0, 1))
def test_at_least_that_share_does_not_exceed_a_percentile(values: list[float], share: float) -> None:
    found = percentile(values, share)
    assert found in values
    assert sum(value <= found for value in values) >= share * len(values)


def test_the_median_of_repeats_keeps_the_spread() -> None:
    rows = [{"server": "flow", "rate": rate} for rate in (30.0, 10.0, 20.0)]
    assert median_row(rows) == {"server": "flow", "rate": 20.0, "rate_spread": [10.0, 30.0]}


@pytest.mark.parametrize(
    ("check", "met"),
    [
        (Check("rate", 200, 100, 2.0), True),
        (Check("rate", 199, 100, 2.0), False),
        (Check("cost", 6, 10, 0.6, at_most=True), True),
        (Check("cost", 7, 10, 0.6, at_most=True), False),
        (Check("bytes", 15, None, 15, at_most=True), True),
        (Check("bytes", 16, None, 15, at_most=True), False),
    ],
)
def test_a_goal_is_met_or_missed(check: Check, met: bool) -> None:
    assert check.is_met is met
