"""The breaker: opens after failures in a row, lets one attempt through when its time is over, closes on success."""

from cluster.kernel.clock import ManualClock
from serve_apps.breaker import Breaker


def opened(clock: ManualClock) -> Breaker:
    breaker = Breaker(clock, failures=3, open_seconds=1.0)
    for _ in range(3):
        assert breaker.try_enter()
        breaker.failed()
    return breaker


def test_failures_in_a_row_open_it_for_its_time() -> None:
    clock = ManualClock()
    breaker = opened(clock)
    assert not breaker.try_enter()
    assert breaker.remaining_ms() == 1_000
    clock.advance(0.999)
    assert not breaker.try_enter()


def test_a_success_between_failures_keeps_it_closed() -> None:
    breaker = Breaker(ManualClock(), failures=2)
    for _ in range(5):
        assert breaker.try_enter()
        breaker.failed()
        assert breaker.try_enter()
        breaker.succeeded()
    assert breaker.statistics()["opened"] == 0


def test_one_attempt_at_a_time_decides_whether_it_closes() -> None:
    clock = ManualClock()
    breaker = opened(clock)
    clock.advance(1)
    assert breaker.try_enter()
    assert not breaker.try_enter()
    breaker.failed()
    assert not breaker.try_enter()
    clock.advance(1)
    assert breaker.try_enter()
    breaker.succeeded()
    assert breaker.try_enter()
    assert breaker.try_enter()


def test_an_abandoned_attempt_leaves_the_way_to_the_next() -> None:
    clock = ManualClock()
    breaker = opened(clock)
    clock.advance(1)
    assert breaker.try_enter()
    breaker.abandoned()
    assert breaker.try_enter()
