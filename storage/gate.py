"""The gate before the database: how many operations run at once, how many wait, and for how long.

Used by the client alone. The driver runs operations in a bounded number of threads before an unbounded queue; the gate
stands before that queue, so an operation that is given up was never begun, and a database that is away cannot make
memory grow. Those who wait go in the order they came.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from cluster.kernel.errors import OVERLOADED, UNAVAILABLE, FlowError


class Gate:
    """`slots` run at once, at most `most_waiting` wait, none longer than `wait_ms`."""

    def __init__(self, *, slots: int, most_waiting: int, wait_ms: int) -> None:
        self._slots = asyncio.Semaphore(slots)
        self._most_waiting = most_waiting
        self._wait_s = wait_ms / 1000
        self._counts = {"running": 0, "waiting": 0, "refused": 0, "given_up": 0}

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Raises FlowError OVERLOADED when too many wait, UNAVAILABLE when no turn came in time; nothing was begun."""
        await self._acquire()
        self._counts["running"] += 1
        try:
            yield
        finally:
            self._counts["running"] -= 1
            self._slots.release()

    async def _acquire(self) -> None:
        if not self._slots.locked():
            await self._slots.acquire()
            return
        if self._counts["waiting"] >= self._most_waiting:
            self._counts["refused"] += 1
            raise FlowError(OVERLOADED)
        self._counts["waiting"] += 1
        try:
            async with asyncio.timeout(self._wait_s):
                await self._slots.acquire()
        except TimeoutError as error:
            self._counts["given_up"] += 1
            raise FlowError(UNAVAILABLE, "The database is too slow for what is asked of it.") from error
        finally:
            self._counts["waiting"] -= 1

    def statistics(self) -> dict[str, int]:
        return dict(self._counts)
