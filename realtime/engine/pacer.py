"""Spreads what a crowd brings over loop turns: one at the door, or on its way out, keeps nobody waiting inside.

Handshakes go through one, admissions through another, the ends of sessions through a third: first come first served, a
bounded number a turn. One may rest when its line is empty: whoever comes next waits for more to come, and what is asked
about them leaves in few writes. One who comes alone waits for nothing. Never awaits, starts no task. Its line is as
long as its users let it be: the connections on their way, the namespaces that open sockets ask for, the sessions there
were.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final

_WORKS_A_TURN: Final = 16
"""One costs up to 0.1 ms, what follows from it included."""


class Pacer:
    """`rest_s`: how long the first to come after the line was empty may have to wait for others."""

    __slots__ = ("_loop", "_rest_s", "_rested_at", "_scheduled", "_waiting")

    def __init__(self, loop: asyncio.AbstractEventLoop, rest_s: float = 0.0) -> None:
        self._loop = loop
        self._rest_s = rest_s
        self._rested_at = 0.0
        self._waiting: deque[Callable[[], None]] = deque()
        self._scheduled = False

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, work: Callable[[], None]) -> None:
        """Call `work` soon; it must not raise."""
        self._waiting.append(work)
        if not self._scheduled:
            self._scheduled = True
            if self._rest_s and (wait := self._rested_at - self._loop.time()) > 0:
                self._loop.call_later(wait, self._work)
            else:
                self._loop.call_soon(self._work)

    def _work(self) -> None:
        waiting = self._waiting
        self._scheduled = len(waiting) > _WORKS_A_TURN
        if self._scheduled:
            self._loop.call_soon(self._work)
        for _ in range(min(len(waiting), _WORKS_A_TURN)):
            waiting.popleft()()
        if self._rest_s and not self._scheduled:
            self._rested_at = self._loop.time() + self._rest_s
