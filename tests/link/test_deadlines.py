"""One timer for all deadlines of a link."""

import asyncio

from cluster.kernel.clock import SystemClock
from cluster.link.deadlines import Deadlines


async def test_only_what_still_waits_expires_in_the_order_of_deadlines() -> None:
    clock = SystemClock()
    outstanding = set(range(6))
    expired: list[int] = []
    all_gone = asyncio.Event()

    def expire(request_id: int) -> None:
        outstanding.discard(request_id)
        expired.append(request_id)
        if not outstanding:
            all_gone.set()

    deadlines = Deadlines(outstanding, expire, clock)
    now = clock.monotonic()
    for request_id in (5, 3, 4, 0, 2, 1):
        deadlines.add(now + 0.02 * (request_id + 1), request_id)
    outstanding -= {0, 3}
    async with asyncio.timeout(5):
        await all_gone.wait()
    assert expired == [1, 2, 4, 5]
    assert clock.monotonic() >= now + 0.12
    assert len(deadlines) == 0


async def test_finished_requests_do_not_pile_up() -> None:
    clock = SystemClock()
    outstanding: set[int] = set()
    deadlines = Deadlines(outstanding, outstanding.discard, clock)
    longest = 0
    for request_id in range(10_000):
        outstanding.add(request_id)
        deadlines.add(clock.monotonic() + 3_600, request_id)
        outstanding.discard(request_id)
        longest = max(longest, len(deadlines))
    assert longest < 100
    deadlines.close()


async def test_an_earlier_deadline_is_kept_though_a_later_one_came_first() -> None:
    clock = SystemClock()
    outstanding = {1, 2}
    fired = asyncio.Event()
    deadlines = Deadlines(outstanding, lambda request_id: fired.set() if request_id == 2 else None, clock)
    deadlines.add(clock.monotonic() + 3_600, 1)
    deadlines.add(clock.monotonic() + 0.01, 2)
    async with asyncio.timeout(5):
        await fired.wait()
    deadlines.close()
