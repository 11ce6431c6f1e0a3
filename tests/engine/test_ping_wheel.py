"""The wheel on a clock that the test moves: nobody is called early, nobody late by more than a tick, nobody twice."""

import asyncio
import logging

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.kernel.clock import ManualClock
from realtime.engine.ping_wheel import PingWheel
from tests.engine.harness import eventually


class Entry:
    def __init__(self, clock: ManualClock, again_s: float | None = None) -> None:
        self.wheel_slot = -1
        self.calls: list[float] = []
        self._clock = clock
        self._again_s = again_s

    def tick(self, now: float) -> float | None:
        assert now == self._clock.monotonic()
        self.calls.append(now)
        return None if self._again_s is None else now + self._again_s


def _wheel() -> tuple[PingWheel, ManualClock, asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    clock = ManualClock()
    return PingWheel(clock, loop, shortest_deadline_s=4.0), clock, loop


@settings(deadline=None)
@given(st.lists(st.floats(0, 10), min_size=1, max_size=20), st.floats(0.01, 0.5))
def test_each_entry_is_called_once_and_in_time(times: list[float], step: float) -> None:
    wheel, clock, loop = _wheel()
    entries = [Entry(clock) for _ in times]
    for entry, at in zip(entries, times, strict=True):
        wheel.schedule(entry, at)
    while clock.monotonic() < 11:
        clock.advance(step)
        wheel.advance()
    for entry, at in zip(entries, times, strict=True):
        (called,) = entry.calls
        assert at <= called + 1e-9 <= at + wheel.tick_s + step + 2e-9
    assert len(wheel) == 0
    loop.close()


def test_an_earlier_time_replaces_a_later_one_and_not_the_other_way() -> None:
    wheel, clock, loop = _wheel()
    entry = Entry(clock)
    wheel.schedule(entry, 5.0)
    wheel.schedule(entry, 1.0)
    wheel.schedule(entry, 3.0)
    assert len(wheel) == 1
    clock.advance(1.0)
    wheel.advance()
    assert entry.calls == [1.0]
    clock.advance(9.0)
    wheel.advance()
    assert len(entry.calls) == 1
    loop.close()


def test_a_forgotten_entry_is_not_called_and_not_held() -> None:
    wheel, clock, loop = _wheel()
    entry = Entry(clock)
    wheel.schedule(entry, 1.0)
    wheel.forget(entry)
    assert len(wheel) == 0
    clock.advance(2.0)
    wheel.advance()
    assert entry.calls == []
    loop.close()


def test_an_entry_that_asks_again_is_called_again() -> None:
    wheel, clock, loop = _wheel()
    entry = Entry(clock, again_s=1.0)
    wheel.schedule(entry, 1.0)
    for _ in range(35):
        clock.advance(0.1)
        wheel.advance()
    assert len(entry.calls) == 3
    loop.close()


def test_a_crowd_is_served_over_several_turns_and_whole() -> None:
    wheel, clock, loop = _wheel()
    crowd = [Entry(clock) for _ in range(2_500)]
    for entry in crowd:
        wheel.schedule(entry, 1.0)
    clock.advance(2.0)
    wheel.advance()
    assert 0 < sum(len(entry.calls) for entry in crowd) < len(crowd)
    loop.run_until_complete(_turns(wheel))
    assert all(len(entry.calls) == 1 for entry in crowd)
    loop.close()


async def _turns(wheel: PingWheel) -> None:
    await eventually(lambda: len(wheel) == 0)


def test_a_mistake_in_one_entry_does_not_stop_the_others(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(Entry):
        def tick(self, now: float) -> float | None:
            raise RuntimeError("a mistake")

    wheel, clock, loop = _wheel()
    entries = [Entry(clock), Broken(clock), Entry(clock)]
    for entry in entries:
        wheel.schedule(entry, 1.0)
    clock.advance(2.0)
    with caplog.at_level(logging.ERROR):
        wheel.advance()
    assert entries[0].calls == entries[2].calls == [2.0]
    assert "a mistake" in caplog.text
    loop.close()
