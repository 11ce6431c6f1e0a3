"""Lateness and who caused it, on made-up clocks."""

import asyncio

import pytest

from cluster.kernel.clock import ManualClock
from realtime.loop_watch import LoopWatch, time_in_line


class Machine:
    """A turn of the loop that takes so long, in which its thread computed and stood in line for so long."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.used = 0.0
        self.waited = 0.0
        self.watch = LoopWatch(self.clock, lambda: self.used, lambda: self.waited)

    async def turn(self, seconds: float, on_processor: float, in_line: float = 0.0, interval: float = 0.001) -> float:
        def pass_time() -> None:
            self.clock.advance(seconds)
            self.used += on_processor
            self.waited += in_line

        asyncio.get_running_loop().call_soon(pass_time)
        return await self.watch.beat(interval)

    def longest(self) -> tuple[float, float, float]:
        found = self.watch.statistics()
        return found["loop_late_s_max"], found["loop_held_s_max"], found["loop_blocked_s_max"]


async def test_a_loop_that_is_held_is_told_from_one_that_waits_for_a_processor() -> None:
    machine = Machine()
    assert machine.longest() == (0.0, 0.0, 0.0)
    assert await machine.turn(0.201, 0.05, in_line=0.15) == pytest.approx(0.2)
    assert machine.longest() == pytest.approx((0.2, 0.05, 0.051)), "too much by the interval of 1 ms"
    assert await machine.turn(0.101, 0.1) == pytest.approx(0.1)
    assert machine.longest() == pytest.approx((0.2, 0.1, 0.1))
    assert await machine.turn(0.0005, 0.0) == 0.0


async def test_a_call_that_blocks_is_seen_though_nothing_computes() -> None:
    machine = Machine()
    await machine.turn(0.301, 0.0, in_line=0.1)
    assert machine.longest() == pytest.approx((0.3, 0.0, 0.201))


async def test_what_was_waited_for_before_the_beat_was_due_hides_no_block_after_it() -> None:
    machine = Machine()
    await machine.turn(0.19, 0.0, in_line=0.09, interval=0.1)
    assert machine.longest() == pytest.approx((0.09, 0.0, 0.09))


def test_the_time_in_line_never_goes_back() -> None:
    before = time_in_line()
    assert 0.0 <= before <= time_in_line()


async def test_what_was_minutes_ago_is_forgotten() -> None:
    machine = Machine()
    await machine.turn(0.301, 0.3)
    machine.clock.advance(200.0)
    await machine.turn(0.011, 0.01)
    assert machine.longest()[0] == pytest.approx(0.3)
    machine.clock.advance(100.0)
    assert machine.longest() == pytest.approx((0.01, 0.01, 0.01))
    machine.clock.advance(1_000.0)
    assert machine.longest() == (0.0, 0.0, 0.0)
