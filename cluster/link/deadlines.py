"""The deadlines of one link's outstanding requests: one timer, not a task or a timer for each.

The client's connection adds a deadline for each request and removes none by hand: an entry whose request is no longer
outstanding is skipped. Memory stays within a small multiple of the requests outstanding.
"""

import asyncio
from collections.abc import Callable, Container, Sized
from heapq import heapify, heappop, heappush
from typing import Final, Protocol

from cluster.kernel.clock import Clock

_SLACK: Final = 64


class _Outstanding(Container[int], Sized, Protocol):
    """The ids that still wait, such as the keys of a dict."""


class Deadlines:
    """Calls `expire(id)` once `deadline` (of the clock's monotonic time) has passed, if the id is still outstanding."""

    def __init__(self, outstanding: _Outstanding, expire: Callable[[int], None], clock: Clock) -> None:
        self._outstanding = outstanding
        self._expire = expire
        self._clock = clock
        self._heap: list[tuple[float, int]] = []
        self._timer: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()

    def __len__(self) -> int:
        """Entries held, those that no longer wait included."""
        return len(self._heap)

    def add(self, deadline: float, request_id: int) -> None:
        heap = self._heap
        if len(heap) > _SLACK + 2 * len(self._outstanding):
            heap[:] = [entry for entry in heap if entry[1] in self._outstanding]
            heapify(heap)
        heappush(heap, (deadline, request_id))
        if heap[0][1] == request_id:
            self._arm()

    def close(self) -> None:
        self._heap.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        wait = max(0.001, self._heap[0][0] - self._clock.monotonic())
        self._timer = self._loop.call_later(wait, self._fire)

    def _fire(self) -> None:
        self._timer = None
        now = self._clock.monotonic()
        while self._heap:
            deadline, request_id = self._heap[0]
            if request_id in self._outstanding:
                if deadline > now:
                    self._arm()
                    return
                heappop(self._heap)
                self._expire(request_id)
            else:
                heappop(self._heap)
