"""How much of what has come is served in one loop turn, whoever it came from.

The loop reads every connection that has something, however many those are: a crowd that comes back sends all at once,
and the longer such a turn takes, the more has come by the next. So what is beyond a turn's share waits in line, in
order of arrival; between the turns everything else of the process goes on. A websocket is not read meanwhile, a
connection before its first request as far as that may be long. Never awaits, starts no task. Its line is as long as
there are connections: each stands in it once at most, and keeps its place when it goes.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final

PIECES_A_TURN: Final = 128
"""One costs some 20 us, what follows from it not included."""


class ReadingTurns:
    """Ask `may_serve` for each piece; who may not asks to be called in a turn that has room, and waits for it."""

    __slots__ = ("_loop", "_served", "_waiting")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._served = 0
        self._waiting: deque[Callable[[], None]] = deque()

    def __len__(self) -> int:
        return len(self._waiting)

    def may_serve(self) -> bool:
        """Whether this turn has room for one more; then it is counted."""
        if self._served >= PIECES_A_TURN or self._waiting:
            return False
        if self._served == 0:
            self._loop.call_soon(self._next_turn)
        self._served += 1
        return True

    def wait(self, work: Callable[[], None]) -> None:
        """After `may_serve` said no: call `work` in its turn. It must not raise, and may find its connection gone."""
        self._waiting.append(work)

    def _next_turn(self) -> None:
        waiting = self._waiting
        self._served = min(len(waiting), PIECES_A_TURN)
        if self._served:
            self._loop.call_soon(self._next_turn)
        for _ in range(self._served):
            waiting.popleft()()
