"""Those who all have the same time, on a clock that the test moves: nobody is called early, late by more than a tick,
or after they were done, and the wheel holds one entry for them while there are any."""

import asyncio
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.kernel.clock import ManualClock
from realtime.engine.patience import Patience
from realtime.engine.ping_wheel import PingWheel

SECONDS = 3.0


class Guest:
    def __init__(self, clock: ManualClock) -> None:
        self.called_at: list[float] = []
        self._clock = clock

    def out_of_time(self) -> None:
        self.called_at.append(self._clock.monotonic())


@pytest.fixture(scope="module")
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    yield loop
    loop.close()


def _patience(loop: asyncio.AbstractEventLoop) -> tuple[Patience[Guest], PingWheel, ManualClock]:
    clock = ManualClock()
    wheel = PingWheel(clock, loop, shortest_deadline_s=4.0)
    return Patience(wheel, clock, SECONDS), wheel, clock


def _pass(seconds: float, wheel: PingWheel, clock: ManualClock) -> None:
    for _ in range(round(seconds / 0.01)):
        clock.advance(0.01)
        wheel.advance()


class _Story:
    """Guests come ("comes"), are done (the how manieth) and time passes (seconds)."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.patience, self.wheel, self.clock = _patience(loop)
        self.came: dict[Guest, float] = {}
        self.done: set[Guest] = set()

    def take(self, step: str | int | float) -> None:
        if isinstance(step, str):
            guest = Guest(self.clock)
            self.came[guest] = self.clock.monotonic()
            self.patience.begin(guest)
        elif isinstance(step, float):
            _pass(step, self.wheel, self.clock)
        elif step < len(self.came):
            guest = list(self.came)[step]
            self.patience.end(guest)
            if not guest.called_at:
                self.done.add(guest)


_STEPS = st.lists(st.one_of(st.just("comes"), st.integers(0, 9), st.floats(0.01, 2.0)), max_size=40)


@settings(deadline=None)
@given(_STEPS)
def test_each_is_called_in_time_unless_it_was_done(
    loop: asyncio.AbstractEventLoop, steps: list[str | int | float]
) -> None:
    story = _Story(loop)
    for step in steps:
        story.take(step)
        assert len(story.wheel) == bool(story.patience)
    _pass(SECONDS + 1, story.wheel, story.clock)
    assert len(story.patience) == len(story.wheel) == 0
    for guest, at in story.came.items():
        assert len(guest.called_at) == (guest not in story.done)
        for called in guest.called_at:
            assert at + SECONDS - 1e-9 <= called <= at + SECONDS + story.wheel.tick_s + 0.02


def test_one_that_waits_already_gets_no_more_time(loop: asyncio.AbstractEventLoop) -> None:
    patience, wheel, clock = _patience(loop)
    guest = Guest(clock)
    patience.begin(guest)
    clock.advance(SECONDS - 1)
    patience.begin(guest)
    clock.advance(1 + wheel.tick_s)
    wheel.advance()
    assert len(guest.called_at) == 1


def test_one_may_be_done_because_another_ran_out_of_time(loop: asyncio.AbstractEventLoop) -> None:
    patience, wheel, clock = _patience(loop)
    second = Guest(clock)

    class First(Guest):
        def out_of_time(self) -> None:
            super().out_of_time()
            patience.end(second)

    patience.begin(First(clock))
    patience.begin(second)
    clock.advance(SECONDS + wheel.tick_s)
    wheel.advance()
    assert second.called_at == []
    assert len(wheel) == 0


def test_a_crowd_whose_time_is_over_is_served_a_bounded_number_a_tick(loop: asyncio.AbstractEventLoop) -> None:
    patience, wheel, clock = _patience(loop)
    crowd = [Guest(clock) for _ in range(2_500)]
    for guest in crowd:
        patience.begin(guest)
    clock.advance(SECONDS + wheel.tick_s)
    called = []
    for _ in range(3):
        wheel.advance()
        called.append(sum(map(len, (guest.called_at for guest in crowd))))
        clock.advance(wheel.tick_s)
    assert called == [1_000, 2_000, 2_500]
