"""Sending the clients of one edge elsewhere: told when, spread over time, and closed once what they asked is answered.

The edge runs it once, when it drains. It promises that every socket hears at once, in each of its namespaces, in how
many milliseconds it will be closed; that these times are spread evenly with a jitter, so that the other edges get their
newcomers evenly; that a request which was accepted is answered before its socket closes, within a grace; and that it
ends in time. Whoever comes late or lingers is the engine's to close. It never waits for a client.
"""

import asyncio
import random
from collections import deque
from typing import Final

from cluster.kernel.clock import Clock
from cluster.kernel.errors import RECONNECT_ELSEWHERE
from realtime.sockets import Socket, Sockets

DRAINING_EVENT: Final = "server:draining"

SPREAD_SHARE: Final = 0.7
_GRACE_SHARE: Final = 0.15
_TICK_S: Final = 0.02
_SOCKETS_A_TURN: Final = 200


def closing_times(sockets: int, spread_s: float, jitter: random.Random) -> list[float]:
    """One time a socket, from now, rising: each in a slice of its own, anywhere in it."""
    return [spread_s * (place + jitter.random()) / sockets for place in range(sockets)]


class Drain:
    """`run` it once. `jitter` is where the chance comes from."""

    def __init__(self, sockets: Sockets, clock: Clock, jitter: random.Random) -> None:
        self._sockets = sockets
        self._clock = clock
        self._jitter = jitter
        self._due: deque[tuple[float, Socket]] = deque()
        self._leaving: list[tuple[float, Socket]] = []

    async def run(self, seconds: float) -> None:
        """Returns when every socket there was has been closed, within the larger part of `seconds`."""
        start = self._clock.monotonic()
        await self._tell(start, seconds * SPREAD_SHARE)
        while self._due or self._leaving:
            now = self._clock.monotonic()
            while self._due and self._due[0][0] <= now:
                _, socket = self._due.popleft()
                socket.is_leaving = True
                self._leaving.append((now + seconds * _GRACE_SHARE, socket))
            self._leaving = [entry for entry in self._leaving if not self._close(*entry, now)]
            await asyncio.sleep(_TICK_S)

    async def _tell(self, start: float, spread_s: float) -> None:
        sockets = self._sockets.all()
        self._jitter.shuffle(sockets)
        times = closing_times(len(sockets), spread_s, self._jitter)
        for told, (after, socket) in enumerate(zip(times, sockets, strict=True), 1):
            at = start + after
            self._due.append((at, socket))
            left_ms = max(0, round((at - self._clock.monotonic()) * 1000))
            for connection in tuple(socket.connections):
                connection.emit(DRAINING_EVENT, {"reconnectInMs": left_ms})
            if told % _SOCKETS_A_TURN == 0:
                await asyncio.sleep(0)

    def _close(self, until: float, socket: Socket, now: float) -> bool:
        """False while it still waits for an answer."""
        if now < until and any(connection.state.under_way for connection in socket.connections):
            return False
        for connection in tuple(socket.connections)[:1]:
            connection.close(RECONNECT_ELSEWHERE)
        return True
