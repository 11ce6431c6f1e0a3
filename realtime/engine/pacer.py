"""Spreads what a crowd brings over loop turns: one at the door, or on its way out, keeps nobody waiting inside.

Handshakes and admissions go through one, the ends of sessions through another: first come first served, a bounded
number a turn. Never awaits, starts no task. Its line is as long as its users let it be: the connections on their way,
the namespaces that open sockets ask for, the sessions there were.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final

_WORKS_A_TURN: Final = 16
"""One costs up to 0.1 ms, what follows from it included."""


class Pacer:
    """Each engine has two."""

    __slots__ = ("_loop", "_scheduled", "_waiting")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._waiting: deque[Callable[[], None]] = deque()
        self._scheduled = False

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, work: Callable[[], None]) -> None:
        """Call `work` soon; it must not raise."""
        self._waiting.append(work)
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._work)

    def _work(self) -> None:
        waiting = self._waiting
        self._scheduled = len(waiting) > _WORKS_A_TURN
        if self._scheduled:
            self._loop.call_soon(self._work)
        for _ in range(min(len(waiting), _WORKS_A_TURN)):
            waiting.popleft()()
