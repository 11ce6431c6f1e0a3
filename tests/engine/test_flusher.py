"""The flusher: once a turn, everyone, and no more of them in one turn than the loop can spare."""

import asyncio

from realtime.engine.flusher import Flusher
from tests.engine.harness import eventually


class Transport:
    def __init__(self) -> None:
        self.flushes = 0

    def flush(self) -> None:
        self.flushes += 1


async def test_a_crowd_is_flushed_over_several_turns_in_order_and_once() -> None:
    flusher = Flusher(asyncio.get_running_loop())
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
    flusher = Flusher(asyncio.get_running_loop())
    late = Transport()

    class Adding(Transport):
        def flush(self) -> None:
            flusher.add(late)

    flusher.add(Adding())
    await eventually(lambda: late.flushes == 1)
    assert len(flusher) == 0
