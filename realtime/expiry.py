"""When tokens of live sockets end: one heap for the whole edge, looked at once a second.

It tells a socket `auth:expiring` a while before its token ends, and closes it with TOKEN_EXPIRED a little after, unless
it was renewed. Pure but for what it is told to call. It promises one entry a socket at most, and that those of
sockets which have gone are never more than those of sockets that live, a thousand aside.
"""

import heapq
from collections.abc import Callable
from typing import Final

from cluster.kernel.errors import TOKEN_EXPIRED
from realtime.limits import EdgeLimits
from realtime.sockets import Socket

_SWEEP_AT_LEAST: Final = 1_024


class ExpiryWatch:
    """`is_live` says whether a socket is still there. Call `tick` about once a second."""

    def __init__(self, limits: EdgeLimits, is_live: Callable[[Socket], bool]) -> None:
        self._warning_ms = round(limits.token_warning_s * 1000)
        self._grace_ms = round(limits.token_grace_s * 1000)
        self._is_live = is_live
        self._heap: list[tuple[int, int, Socket]] = []
        self._entries = 0
        self._sweep_at = _SWEEP_AT_LEAST
        self._expired = 0

    def watch(self, socket: Socket) -> None:
        """Once, when the socket is new."""
        if len(self._heap) >= self._sweep_at:
            self._heap = [entry for entry in self._heap if self._is_live(entry[2])]
            heapq.heapify(self._heap)
            self._sweep_at = max(_SWEEP_AT_LEAST, 2 * len(self._heap))
        self._push(socket)

    def tick(self, now_ms: int) -> None:
        """Warn and close whoever is due."""
        while self._heap and self._heap[0][0] <= now_ms:
            _, _, socket = heapq.heappop(self._heap)
            if not self._is_live(socket):
                continue
            if now_ms >= socket.expires_at_ms + self._grace_ms:
                self._expired += 1
                for connection in tuple(socket.connections)[:1]:
                    connection.close(TOKEN_EXPIRED)
                continue
            if not socket.is_warned and now_ms >= socket.expires_at_ms - self._warning_ms:
                socket.is_warned = True
                for connection in tuple(socket.connections):
                    connection.emit("auth:expiring", {"expiresAt": socket.expires_at_ms})
            self._push(socket)

    def _push(self, socket: Socket) -> None:
        due = socket.expires_at_ms + (self._grace_ms if socket.is_warned else -self._warning_ms)
        self._entries += 1
        heapq.heappush(self._heap, (due, self._entries, socket))

    def statistics(self) -> dict[str, float]:
        return {"tokens_watched": len(self._heap), "tokens_expired": self._expired}
