"""Rates and counts, on a clock that the test moves."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.kernel.clock import ManualClock
from cluster.kernel.errors import LIMIT_REACHED, OVERLOADED, RATE_LIMITED, FlowError
from realtime.admission import Admission, SocketBuckets, TokenBucket
from realtime.limits import EdgeLimits, Rate


def test_a_bucket_gives_its_burst_then_its_rate():
    bucket = TokenBucket(Rate(10.0, 3))
    assert [bucket.take(0.0) == 0 for _ in range(4)] == [True, True, True, False]
    wait = bucket.take(0.0)
    assert wait == pytest.approx(0.1)
    assert bucket.take(wait) == 0
    assert bucket.take(wait) > 0
    assert [bucket.take(100.0) == 0 for _ in range(4)] == [True, True, True, False]


@given(st.floats(0.1, 1000), st.integers(1, 100), st.lists(st.floats(0, 5), max_size=200))
def test_no_bucket_ever_gives_more_than_burst_and_rate(per_second, burst, pauses):
    bucket = TokenBucket(Rate(per_second, burst))
    now, taken = 0.0, 0
    for pause in pauses:
        now += pause
        taken += bucket.take(now) == 0
        assert taken <= burst + now * per_second + 1e-6


@given(st.floats(0.1, 1000), st.integers(1, 20))
def test_who_waits_as_long_as_told_is_served(per_second, burst):
    bucket, now = TokenBucket(Rate(per_second, burst)), 5.0
    for _ in range(50):
        wait = bucket.take(now)
        if wait:
            now += wait
            assert bucket.take(now) == 0


def test_each_kind_of_event_has_its_own_bucket_and_all_share_one():
    limits = EdgeLimits(rates={"a": Rate(1.0, 1)}, default_rate=Rate(1.0, 2), requests_per_socket=Rate(1.0, 3))
    buckets = SocketBuckets(limits)
    buckets.take("a", 0.0)
    with pytest.raises(FlowError) as caught:
        buckets.take("a", 0.0)
    assert (caught.value.kind, caught.value.retry_after_ms) == (RATE_LIMITED, 1000)
    buckets.take("b", 0.0)
    buckets.take("c", 0.0)
    with pytest.raises(FlowError):
        buckets.take("b", 0.0)


def refusal(call, *arguments):
    with pytest.raises(FlowError) as caught:
        call(*arguments)
    assert caught.value.retry_after_ms
    return caught.value.kind


def test_sockets_are_counted_by_edge_person_and_address():
    limits = EdgeLimits(max_sockets=4, max_sockets_per_user=2, max_sockets_per_address=3)
    admission = Admission(limits, ManualClock())
    admission.admit("1", "ann", "x")
    admission.admit("2", "ann", "x")
    assert refusal(admission.admit, "3", "ann", "y") is RATE_LIMITED
    admission.admit("3", "bob", "x")
    assert refusal(admission.admit, "4", "cas", "x") is RATE_LIMITED
    admission.admit("4", "cas", "y")
    assert refusal(admission.admit, "5", "dan", "z") is OVERLOADED
    assert admission.people == 3
    for socket in ("1", "2", "3", "4", "4", "unknown"):
        admission.release(socket)
    statistics = admission.statistics()
    assert statistics["admitted_sockets"] == statistics["people"] == statistics["addresses"] == 0
    assert (statistics["refused_user"], statistics["refused_address"], statistics["refused_edge"]) == (1, 1, 1)


def test_arrivals_of_one_address_are_slowed_and_others_are_not():
    clock = ManualClock()
    admission = Admission(EdgeLimits(connections_per_address=Rate(1.0, 2)), clock)
    admission.arrive("x")
    admission.arrive("x")
    assert refusal(admission.arrive, "x") is RATE_LIMITED
    admission.arrive("y")
    clock.advance(1.0)
    admission.arrive("x")


def test_limits_that_cannot_work_are_refused():
    for wrong in ({"max_sockets": 0}, {"resume_chunk": 257}, {"max_held_deliveries": 1}, {"command_timeout_s": 0}):
        with pytest.raises(ValueError, match=r"must"):
            EdgeLimits(**wrong)
    with pytest.raises(ValueError, match="rate"):
        Rate(0, 1)
    assert not LIMIT_REACHED.retryable
