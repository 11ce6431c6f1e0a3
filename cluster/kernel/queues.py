"""The queue of the project: it has a name, a bound in items and in bytes, a policy and numbers one can read.

Whoever must hold work between a producer and a consumer of one event loop uses it. It promises first in, first out,
and that it never holds more than its bounds. It never waits in `put`: a producer that must wait waits elsewhere.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Generic, TypeVar

from cluster.kernel.errors import OVERLOADED, FlowError

T = TypeVar("T")


class QueuePolicy(StrEnum):
    """What happens to an item that does not fit."""

    REJECT = "reject"
    """The new item is refused with OVERLOADED."""

    DROP_OLDEST = "drop_oldest"
    """The oldest items make room; for what loses its worth with age. An item larger than the whole is refused."""


@dataclass(frozen=True, slots=True)
class QueueStatistics:
    name: str
    items: int
    bytes: int
    max_items: int
    max_bytes: int
    accepted: int
    rejected: int
    dropped: int
    highest_items: int
    highest_bytes: int


class BoundedQueue(Generic[T]):
    """A first-in, first-out queue within one event loop. `size_of` tells the bytes an item counts for."""

    def __init__(
        self,
        name: str,
        *,
        max_items: int,
        max_bytes: int,
        size_of: Callable[[T], int],
        policy: QueuePolicy = QueuePolicy.REJECT,
    ) -> None:
        if max_items < 1 or max_bytes < 1:
            raise ValueError(f"queue {name}: both bounds must be at least 1")
        self._name = name
        self._max_items = max_items
        self._max_bytes = max_bytes
        self._size_of = size_of
        self._policy = policy
        self._items: deque[tuple[T, int]] = deque()
        self._bytes = 0
        self._ready = asyncio.Event()
        self._accepted = self._rejected = self._dropped = 0
        self._highest_items = self._highest_bytes = 0

    def __len__(self) -> int:
        return len(self._items)

    @property
    def size_bytes(self) -> int:
        return self._bytes

    def put(self, item: T) -> None:
        """Append at once. Raises FlowError OVERLOADED when the policy refuses it."""
        size = self._size_of(item)
        if size > self._max_bytes or not self._make_room(size):
            self._rejected += 1
            raise FlowError(OVERLOADED, f"The queue {self._name} is full.")
        self._items.append((item, size))
        self._bytes += size
        self._accepted += 1
        self._highest_items = max(self._highest_items, len(self._items))
        self._highest_bytes = max(self._highest_bytes, self._bytes)
        self._ready.set()

    def _make_room(self, size: int) -> bool:
        while len(self._items) >= self._max_items or self._bytes + size > self._max_bytes:
            if self._policy is QueuePolicy.REJECT:
                return False
            self._pop()
            self._dropped += 1
        return True

    def _pop(self) -> T:
        item, size = self._items.popleft()
        self._bytes -= size
        return item

    def get_nowait(self) -> T:
        """The oldest item. Raises IndexError when there is none."""
        return self._pop()

    async def get(self) -> T:
        """The oldest item, as soon as there is one. Several consumers may wait; each item goes to one of them."""
        while not self._items:
            self._ready.clear()
            await self._ready.wait()
        return self._pop()

    def take(self, limit: int) -> list[T]:
        """Up to `limit` of the oldest items, without waiting; empty when there is none."""
        return [self._pop() for _ in range(min(limit, len(self._items)))]

    def statistics(self) -> QueueStatistics:
        return QueueStatistics(
            self._name,
            len(self._items),
            self._bytes,
            self._max_items,
            self._max_bytes,
            self._accepted,
            self._rejected,
            self._dropped,
            self._highest_items,
            self._highest_bytes,
        )
