"""What all sockets of one engine share: limits, time, the flusher, the wheel, the counts and the table of sessions.

Made once per engine, within its event loop. Holds no rule of a protocol.
"""

import asyncio
import base64
import os
from typing import TYPE_CHECKING, Final, Protocol

import orjson

from cluster.kernel.clock import Clock
from cluster.kernel.tasks import TaskOwner
from realtime.engine.counters import Counters
from realtime.engine.flusher import Flusher
from realtime.engine.limits import EngineLimits
from realtime.engine.pacer import Pacer
from realtime.engine.patience import Patience, Waiting
from realtime.engine.ping_wheel import PingWheel
from realtime.engine.reading import ReadingTurns

if TYPE_CHECKING:
    from realtime.engine.session import Session

_ID_BYTES: Final = 15
_ID_CHARACTERS: Final = 20
_IDS_A_DRAW: Final = 64

_GATHER_S: Final = 0.01
"""An application asks others about whoever it admits: about a crowd by the hundred."""


_UPGRADES: Final[dict[str, list[str]]] = {"polling": ["websocket"], "websocket": []}


def _opening_rest(limits: EngineLimits, upgrades: list[str]) -> bytes:
    """What an OPEN packet says of the session besides its id, which is the same for all of them."""
    fields = {
        "upgrades": upgrades,
        "pingInterval": limits.ping_interval_ms,
        "pingTimeout": limits.ping_timeout_ms,
        "maxPayload": limits.max_payload_bytes,
    }
    return orjson.dumps(fields).removeprefix(b"{")


class Abortable(Waiting, Protocol):
    """A connection before its first request, or a transport that has said its last and waits for the client to take
    it."""

    def abort(self) -> None: ...


class Runtime:
    """`sessions` is every session by id, closing ones included; `lingering` the transports that wait for their end.

    `empty` is set while there is neither. `arriving` are connections that have not said yet what they want, `admitting`
    the admissions under way.
    `pacer` is the line of newcomers, `admissions` of who asks for a namespace, `endings` that of handlers which are yet
    to be told of their sessions' end. `reading` is the line of what has come and is not served yet.
    """

    def __init__(self, limits: EngineLimits, clock: Clock, session_prefix: str) -> None:
        loop = asyncio.get_running_loop()
        self.limits = limits
        self.clock = clock
        self.session_prefix = session_prefix
        self.loop = loop
        self.counters = Counters()
        self.flusher = Flusher(loop, clock)
        self.reading = ReadingTurns(loop)
        self.pacer = Pacer(loop)
        self.admissions = Pacer(loop, rest_s=_GATHER_S)
        self.endings = Pacer(loop)
        self.wheel = PingWheel(
            clock, loop, shortest_deadline_s=min(limits.ping_interval_ms, limits.ping_timeout_ms) / 1000
        )
        self.tasks = TaskOwner("realtime.engine", limit=limits.max_sockets)
        self.sessions: dict[str, Session] = {}
        self.lingering: Patience[Abortable] = Patience(self.wheel, clock, limits.close_timeout_s)
        self.arriving: Patience[Abortable] = Patience(self.wheel, clock, limits.request_timeout_s)
        self.admitting: Patience[Waiting] = Patience(self.wheel, clock, limits.connect_timeout_s)
        self.empty = asyncio.Event()
        self.empty.set()
        self.draining = False
        self._drawn_ids: list[str] = []
        self._openings = {name: _opening_rest(limits, upgrades) for name, upgrades in _UPGRADES.items()}

    def new_id(self) -> str:
        """An id that nobody can guess, with the edge's prefix so that any edge can tell whose it is."""
        if not self._drawn_ids:  # one system call for many
            drawn = base64.urlsafe_b64encode(os.urandom(_ID_BYTES * _IDS_A_DRAW)).decode()
            self._drawn_ids = [
                self.session_prefix + drawn[start : start + _ID_CHARACTERS]
                for start in range(0, len(drawn), _ID_CHARACTERS)
            ]
        return self._drawn_ids.pop()

    def opening(self, session_id: str, transport: str) -> bytes:
        """The OPEN packet of a session that begins with this transport."""
        return b'0{"sid":%b,%b' % (orjson.dumps(session_id), self._openings[transport])

    def remember(self, session: "Session") -> None:
        self.sessions[session.id] = session
        self.counters.sockets_opened += 1
        self.empty.clear()

    def forget(self, session: "Session") -> None:
        self.sessions.pop(session.id, None)
        self.wheel.forget(session)
        self._note_empty()

    def linger(self, transport: Abortable) -> None:
        """Let a closed transport wait for its client as long as the limits say."""
        self.lingering.begin(transport)
        self.empty.clear()

    def depart(self, transport: Abortable) -> None:
        self.lingering.end(transport)
        self._note_empty()

    def _note_empty(self) -> None:
        if not self.sessions and not self.lingering:
            self.empty.set()

    @property
    def is_full(self) -> bool:
        return self.draining or len(self.sessions) >= self.limits.max_sockets
