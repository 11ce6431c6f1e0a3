"""Joins what one loop turn sends to a socket into one write.

Transports that have something to send add themselves; at the end of the turn each is asked to flush, a bounded number
per turn so that a broadcast to ten thousand sockets does not hold the loop. Never awaits, starts no task.
"""

import asyncio
from typing import Final, Protocol

_FLUSHES_PER_TURN: Final = 512


class Flushable(Protocol):
    def flush(self) -> None:
        """Send what is pending. Must not raise; called when there may be nothing left to send."""


class Flusher:
    """One per engine. A transport adds itself when it has its first pending message, not for each."""

    __slots__ = ("_dirty", "_loop", "_scheduled")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._dirty: list[Flushable] = []
        self._scheduled = False

    def __len__(self) -> int:
        return len(self._dirty)

    def add(self, transport: Flushable) -> None:
        self._dirty.append(transport)
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        batch = self._dirty[:_FLUSHES_PER_TURN]
        del self._dirty[:_FLUSHES_PER_TURN]
        for transport in batch:
            transport.flush()
        self._scheduled = bool(self._dirty)
        if self._scheduled:
            self._loop.call_soon(self._flush)
