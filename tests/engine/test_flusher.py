"""The flusher: once a turn, everyone, and no more of them in one turn than the loop can spare."""

import asyncio

from cluster.kernel.clock import ManualClock
from realtime.engine.flusher import Flusher
from tests.engine.harness import eventually


class Transport:
    def __init__(self) -> None:
        self.flushes = 0

    def flush(self) -> None:
        self.flushes += 1


async def test_a_crowd_is_flushed_over_several_turns_in_order_and_once() -> None:
    flusher = Flusher(asyncio.get_running_loop(), ManualClock())
    crowd = [Transport() for _ in range(2_000)]
    for transport in crowd:
        flusher.add(transport)
    await asyncio.sleep(0)
    done = [transport.flushes for transport in crowd]
    assert 0 < sum(done) < len(crowd)
    assert done == sorted(done, reverse=True)
    await eventually(lambda: len(flusher) == 0)
    assert all(transport.flushes == 1 for transport in crowd)


async def test_what_is_added_while_flushing_is_flushed_too() -> None:
    flusher = Flusher(asyncio.get_running_loop(), ManualClock())
    late = Transport()

    class Adding(Transport):
        def flush(self) -> None:
            flusher.add(late)

    flusher.add(Adding())
    await eventually(lambda: late.flushes == 1)
    assert len(flusher) == 0


async def test_a_round_waits_as_long_as_the_last_one_took_and_joins_what_came() -> None:
    clock = ManualClock()
    flusher = Flusher(asyncio.get_running_loop(), clock)

    class Slow(Transport):
        def flush(self) -> None:
            super().flush()
            clock.advance(0.002)

    first, second = Slow(), Slow()
    flusher.add_to_round(first)
    await asyncio.sleep(0)
    assert first.flushes == 1
    flusher.add_to_round(second)
    for _ in range(5):
        await asyncio.sleep(0)
    assert (second.flushes, len(flusher)) == (0, 1)
    prompt = Transport()
    flusher.add(prompt)
    await asyncio.sleep(0)
    assert (prompt.flushes, second.flushes) == (1, 0)
    await eventually(lambda: second.flushes == 1)


async def test_a_round_that_costs_nothing_waits_for_nothing() -> None:
    flusher = Flusher(asyncio.get_running_loop(), ManualClock())
    for _ in range(3):
        transport = Transport()
        flusher.add_to_round(transport)
        await asyncio.sleep(0)
        assert transport.flushes == 1


async def test_what_is_shared_during_a_round_belongs_to_the_next() -> None:
    flusher = Flusher(asyncio.get_running_loop(), ManualClock())
    crowd = [Transport() for _ in range(1_000)]
    for transport in crowd:
        flusher.add_to_round(transport)
    await asyncio.sleep(0)
    done = [transport.flushes for transport in crowd]
    assert 0 < sum(done) < len(crowd)
    assert done == sorted(done, reverse=True)
    again = Transport()
    flusher.add_to_round(again)
    await eventually(lambda: len(flusher) == 0)
    assert all(transport.flushes == 1 for transport in (*crowd, again))


async def test_what_goes_to_one_alone_does_not_wait_for_a_round_that_is_about_to_begin() -> None:
    flusher = Flusher(asyncio.get_running_loop(), ManualClock())
    order: list[str] = []

    class Told(Transport):
        def __init__(self, name: str) -> None:
            super().__init__()
            self.name = name

        def flush(self) -> None:
            order.append(self.name)

    for number in range(3):
        flusher.add_to_round(Told(f"told {number}"))
    flusher.add(Told("answered"))
    await eventually(lambda: len(flusher) == 0)
    assert order == ["answered", "told 0", "told 1", "told 2"]
