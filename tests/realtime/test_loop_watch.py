"""Lateness and who caused it, on made-up clocks."""

import asyncio

import pytest

from cluster.kernel.clock import ManualClock
from realtime.loop_watch import LoopWatch


class Machine:
    """A turn of the loop that takes so long, of which its thread had the processor for so long."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.used = 0.0
        self.watch = LoopWatch(self.clock, lambda: self.used)

    async def turn(self, seconds: float, on_processor: float) -> float:
        def pass_time() -> None:
            self.clock.advance(seconds)
            self.used += on_processor

        asyncio.get_running_loop().call_soon(pass_time)
        return await self.watch.beat(0.001)


async def test_a_loop_that_is_held_is_told_from_one_that_waits_for_a_processor() -> None:
    machine = Machine()
    assert machine.watch.statistics() == {"loop_late_s_max": 0.0, "loop_held_s_max": 0.0}
    assert await machine.turn(0.201, 0.05) == pytest.approx(0.2)
    assert machine.watch.statistics() == pytest.approx({"loop_late_s_max": 0.2, "loop_held_s_max": 0.05})
    assert await machine.turn(0.101, 0.1) == pytest.approx(0.1)
    assert machine.watch.statistics() == pytest.approx({"loop_late_s_max": 0.2, "loop_held_s_max": 0.1})
    assert await machine.turn(0.0005, 0.0) == 0.0


async def test_what_was_minutes_ago_is_forgotten() -> None:
    machine = Machine()
    await machine.turn(0.301, 0.3)
    machine.clock.advance(200.0)
    await machine.turn(0.011, 0.01)
    assert machine.watch.statistics()["loop_late_s_max"] == pytest.approx(0.3)
    machine.clock.advance(100.0)
    assert machine.watch.statistics() == pytest.approx({"loop_late_s_max": 0.01, "loop_held_s_max": 0.01})
    machine.clock.advance(1_000.0)
    assert machine.watch.statistics() == {"loop_late_s_max": 0.0, "loop_held_s_max": 0.0}
