"""The line of a crowd, on a loop that the test turns: a few a turn, in order; with a rest, those who come after others
wait for more of them."""

from collections.abc import Callable
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from realtime.engine.pacer import Pacer

REST_S = 0.01


class Turned:
    """The part of an event loop that a pacer uses."""

    def __init__(self) -> None:
        self.now = 100.0
        self.calls: list[tuple[float, Callable[[], None]]] = []

    def time(self) -> float:
        return self.now

    def call_soon(self, call: Callable[[], None]) -> None:
        self.calls.append((self.now, call))

    def call_later(self, delay_s: float, call: Callable[[], None]) -> None:
        self.calls.append((self.now + delay_s, call))

    def turn(self) -> None:
        due = [call for at, call in self.calls if at <= self.now]
        self.calls = [(at, call) for at, call in self.calls if at > self.now]
        for call in due:
            call()


def _pacer(rest_s: float = 0.0) -> tuple[Pacer, Any, list[int]]:
    loop: Any = Turned()
    return Pacer(loop, rest_s), loop, []


@given(st.lists(st.integers(0, 40), max_size=20))
def test_a_crowd_is_served_in_order_a_few_a_turn(arrivals: list[int]) -> None:
    pacer, loop, done = _pacer()
    came = 0
    for newcomers in [*arrivals, *([0] * 60)]:
        for number in range(came, came + newcomers):
            pacer.add(lambda number=number: done.append(number))  # type: ignore[misc]
        came += newcomers
        waiting, before = len(pacer), len(done)
        loop.turn()
        assert len(done) - before == min(16, waiting)
    assert done == list(range(came))


def test_one_who_comes_alone_waits_for_nothing() -> None:
    pacer, loop, done = _pacer(REST_S)
    for number in range(3):
        pacer.add(lambda number=number: done.append(number))  # type: ignore[misc]
        loop.turn()
        assert done == list(range(number + 1))
        loop.now += REST_S


def test_those_who_come_after_others_wait_for_more_and_are_served_together() -> None:
    pacer, loop, done = _pacer(REST_S)
    pacer.add(lambda: done.append(0))
    loop.turn()
    for number in range(1, 5):
        pacer.add(lambda number=number: done.append(number))  # type: ignore[misc]
        loop.now += REST_S / 5
        loop.turn()
        assert done == [0]
    loop.now += REST_S / 4
    loop.turn()
    assert done == [0, 1, 2, 3, 4]


def test_a_line_that_is_not_empty_does_not_rest() -> None:
    pacer, loop, done = _pacer(REST_S)
    for number in range(40):
        pacer.add(lambda number=number: done.append(number))  # type: ignore[misc]
    for _ in range(3):
        loop.turn()
    assert len(done) == 40
