"""Rates by name: who asks too fast waits, nobody else does, and memory stays bounded."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.kernel.clock import ManualClock
from cluster.kernel.errors import RATE_LIMITED, FlowError
from realtime.addresses import address_block
from realtime.http.throttle import Throttle
from realtime.limits import Rate


def test_the_burst_is_free_and_the_answer_says_when_to_come_back() -> None:
    clock = ManualClock()
    throttle = Throttle(Rate(0.5, 3), clock)
    for _ in range(3):
        throttle.take("ada")
    with pytest.raises(FlowError) as caught:
        throttle.take("ada")
    assert caught.value.kind is RATE_LIMITED
    assert caught.value.retry_after_ms == 2_000
    throttle.take("grace")
    clock.advance(1.9)
    with pytest.raises(FlowError):
        throttle.take("ada")
    clock.advance(0.1)
    throttle.take("ada")


def test_names_are_bounded_and_the_ones_at_their_limit_are_kept_longest() -> None:
    clock = ManualClock()
    throttle = Throttle(Rate(1.0, 2), clock, max_names=100)
    for n in range(90):
        throttle.take(f"old {n}")
    clock.advance(10)
    throttle.take("busy")
    for n in range(1_000):
        throttle.take(f"new {n}")
        assert throttle.statistics()["names"] <= 100


def test_a_flood_of_names_does_not_free_the_one_that_waits_at_once() -> None:
    throttle = Throttle(Rate(1.0, 1), ManualClock(), max_names=10)
    for n in range(9):
        throttle.take(f"old {n}")
    throttle.take("busy")
    throttle.take("one more")
    with pytest.raises(FlowError):
        throttle.take("busy")


@given(st.lists(st.tuples(st.floats(0, 5), st.integers(1, 3)), max_size=60))
def test_nobody_gets_more_than_burst_and_rate_allow(asks: list[tuple[float, int]]) -> None:
    clock = ManualClock()
    throttle = Throttle(Rate(2.0, 5), clock)
    taken = 0
    for wait, count in asks:
        clock.advance(wait)
        for _ in range(count):
            try:
                throttle.take("ada")
            except FlowError:
                continue
            taken += 1
    assert taken <= 5 + 2.0 * clock.monotonic() + 1e-6


@pytest.mark.parametrize(
    ("address", "block"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::9", "2001:db8:1:2::/64"),
        ("", ""),
        ("unix", "unix"),
    ],
)
def test_one_ipv6_customer_is_one_address(address: str, block: str) -> None:
    assert address_block(address) == block
