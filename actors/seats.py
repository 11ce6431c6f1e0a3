"""The seats of one event: which is the lowest free one. Pure; owned by the event's machine.

Seats are numbered from 1. Memory is proportional to the holes, not to the seats.
"""

from collections.abc import Iterable
from heapq import heapify, heappop, heappush


class Seats:
    __slots__ = ("_free", "_next")

    def __init__(self, taken: Iterable[int]) -> None:
        held = set(taken)
        self._next = max(held, default=0) + 1
        """Every seat from here on is free."""
        self._free = [seat for seat in range(1, self._next) if seat not in held]
        heapify(self._free)

    @property
    def lowest_free(self) -> int:
        return self._free[0] if self._free else self._next

    def take(self) -> int:
        """Take the lowest free seat and return it."""
        if self._free:
            return heappop(self._free)
        self._next += 1
        return self._next - 1

    def give_back(self, seat: int) -> None:
        heappush(self._free, seat)
