"""What all sockets of one engine share: limits, time, the flusher, the wheel, the counts and the table of sessions.

Made once per engine, within its event loop. Holds no rule of a protocol.
"""

import asyncio
import base64
import os
from typing import TYPE_CHECKING, Final, Protocol

from cluster.kernel.clock import Clock
from cluster.kernel.tasks import TaskOwner
from realtime.engine.counters import Counters
from realtime.engine.flusher import Flusher
from realtime.engine.limits import EngineLimits
from realtime.engine.pacer import Pacer
from realtime.engine.ping_wheel import PingWheel, WheelEntry

if TYPE_CHECKING:
    from realtime.engine.session import Session

_ID_BYTES: Final = 15
_IDS_A_DRAW: Final = 64


class LingeringTransport(WheelEntry, Protocol):
    """A transport that has said its last and waits for the client to take it."""

    def abort(self) -> None: ...


class Arriving(WheelEntry, Protocol):
    """A connection before its first request."""

    def abort(self) -> None: ...


class Runtime:
    """`sessions` is every session by id, closing ones included; `lingering` the transports that wait for their end.

    `empty` is set while there is neither. `arriving` are connections that have not said yet what they want.
    """

    def __init__(self, limits: EngineLimits, clock: Clock, session_prefix: str) -> None:
        loop = asyncio.get_running_loop()
        self.limits = limits
        self.clock = clock
        self.session_prefix = session_prefix
        self.loop = loop
        self.counters = Counters()
        self.flusher = Flusher(loop, clock)
        self.pacer = Pacer(loop)
        self.wheel = PingWheel(
            clock, loop, shortest_deadline_s=min(limits.ping_interval_ms, limits.ping_timeout_ms) / 1000
        )
        self.tasks = TaskOwner("realtime.engine", limit=limits.max_sockets)
        self.sessions: dict[str, Session] = {}
        self.lingering: set[LingeringTransport] = set()
        self.arriving: set[Arriving] = set()
        self.empty = asyncio.Event()
        self.empty.set()
        self.draining = False
        self._random: list[bytes] = []

    def new_id(self) -> str:
        """An id that nobody can guess, with the edge's prefix so that any edge can tell whose it is."""
        if not self._random:
            drawn = os.urandom(_ID_BYTES * _IDS_A_DRAW)  # one system call for many
            self._random = [drawn[start : start + _ID_BYTES] for start in range(0, len(drawn), _ID_BYTES)]
        return self.session_prefix + base64.urlsafe_b64encode(self._random.pop()).decode()

    def remember(self, session: "Session") -> None:
        self.sessions[session.id] = session
        self.counters.sockets_opened += 1
        self.empty.clear()

    def forget(self, session: "Session") -> None:
        self.sessions.pop(session.id, None)
        self.wheel.forget(session)
        self._note_empty()

    def linger(self, transport: LingeringTransport) -> None:
        """Let a closed transport wait for its client as long as the limits say; its `tick` is the end of that."""
        self.lingering.add(transport)
        self.empty.clear()
        self.wheel.schedule(transport, self.clock.monotonic() + self.limits.close_timeout_s)

    def depart(self, transport: LingeringTransport) -> None:
        self.lingering.discard(transport)
        self.wheel.forget(transport)
        self._note_empty()

    def _note_empty(self) -> None:
        if not self.sessions and not self.lingering:
            self.empty.set()

    @property
    def is_full(self) -> bool:
        return self.draining or len(self.sessions) >= self.limits.max_sockets
