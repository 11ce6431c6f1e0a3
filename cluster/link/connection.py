"""The dialing end of one connection: its handshake, its outstanding requests, its pings.

`ReconnectingLink` makes one for each dial and throws it away when it breaks. It promises that each request ends exactly
once (reply, the far side's error, deadline, break or cancellation) and leaves nothing behind. It never dials again.
"""

import asyncio
import math
from dataclasses import dataclass
from typing import Any, Final, Protocol

import msgspec

from cluster.kernel.attempt import attempt
from cluster.kernel.clock import Clock
from cluster.kernel.errors import DEADLINE_EXCEEDED, OVERLOADED, UNAVAILABLE, FlowError
from cluster.link.deadlines import Deadlines
from cluster.link.frames import (
    NOTE,
    PING,
    REQUEST,
    ErrorFrame,
    PongFrame,
    PushFrame,
    ReplyFrame,
    decode_to_client,
)
from cluster.link.handshake import DialerHandshake, Identity
from cluster.link.port import Answered, LinkLimits
from cluster.link.stream import FrameStream

_RETRY_AFTER_MS: Final = 100
_MAX_TIMEOUT_MS: Final = 2**32 - 1
_FRAMES_A_TURN: Final = 512
_FRAMES_A_TASK: Final = 8
"""A host answers a crowd by the hundred: sessions are read, and messages stored, that many at once. All tasks that
replies wake go on in one turn of the loop, which others wait for: 64 at most. What hears its reply at once costs a few
microseconds, and what follows it on the stream, such as the message for everybody else, should come in the same turn:
both leave a socket in one write then."""


@dataclass(slots=True)
class LinkCounters:
    """What has happened on one link, all its connections together."""

    dials: int = 0
    dials_failed: int = 0
    connections: int = 0
    silent_peers_closed: int = 0
    protocol_violations: int = 0
    requests: int = 0
    requests_overloaded: int = 0
    requests_timed_out: int = 0
    requests_cancelled: int = 0
    late_replies: int = 0
    notes: int = 0
    notes_dropped: int = 0
    pushes: int = 0
    round_trip_ms: float = 0.0
    """Of the last ping."""


class ConnectionOwner(Protocol):
    """Who hears of a connection's life."""

    def connection_ready(self, connection: "ClientConnection") -> None:
        """The handshake is done."""

    def connection_pushed(self, topic: str, body: msgspec.Raw) -> None: ...

    def connection_broken(self, connection: "ClientConnection", reason: str) -> None:
        """Once, whether it was ready or not; outstanding requests have failed."""


class _Call(asyncio.Future[msgspec.Raw]):
    """A request's future. Cancelling it frees its place in the window at once."""

    request_id: int
    connection: "ClientConnection"
    """Set by whoever makes it: each command makes one, and an `__init__` of its own would cost most of that."""

    def answered(self, answer: msgspec.Raw | FlowError) -> None:
        self.connection.wakes_a_task()
        if isinstance(answer, FlowError):
            self.set_exception(answer)
        else:
            self.set_result(answer)

    def cancel(self, msg: Any | None = None) -> bool:
        self.connection.forget(self.request_id)
        return super().cancel(msg)


class ClientConnection(FrameStream):
    """One connection, from the dialer's side."""

    def __init__(
        self,
        handshake: DialerHandshake,
        owner: ConnectionOwner,
        limits: LinkLimits,
        clock: Clock,
        counters: LinkCounters,
    ) -> None:
        super().__init__(limits.max_frame_bytes, clock, frames_a_turn=_FRAMES_A_TURN)
        self._handshake = handshake
        self._owner = owner
        self._limits = limits
        self._counters = counters
        self._outstanding: dict[int, Answered] = {}
        self._deadlines = Deadlines(self._outstanding, self._expire, clock)
        self._next_id = 0
        self._tick_timer: asyncio.TimerHandle | None = None
        self._last_tick = 0.0
        self._broken = False
        self.is_ready = False
        """The far side has proven itself, and the connection is not broken."""
        self.ended: asyncio.Future[str] = self._loop.create_future()
        """Holds the reason once the connection is over, however it ended."""

    @property
    def peer(self) -> Identity | None:
        """None until the far side has proven itself."""
        return self._handshake.peer

    @property
    def outstanding(self) -> int:
        return len(self._outstanding)

    def call(self, method: str, body: Any, timeout_s: float) -> asyncio.Future[msgspec.Raw]:
        call = _Call(loop=self._loop)
        call.connection = self
        call.request_id = self.ask(method, body, timeout_s, call.answered)
        return call

    def ask(self, method: str, body: Any, timeout_s: float, answered: Answered) -> int:
        """The request's id, for `forget`."""
        if not self.is_ready:
            raise FlowError(UNAVAILABLE)
        if len(self._outstanding) >= self._limits.max_outstanding_requests or not self._has_room():
            self._counters.requests_overloaded += 1
            raise FlowError(OVERLOADED, retry_after_ms=_RETRY_AFTER_MS)
        if timeout_s <= 0:
            raise FlowError(DEADLINE_EXCEEDED)
        request_id = self._next_id
        self.send((REQUEST, request_id, min(math.ceil(timeout_s * 1000), _MAX_TIMEOUT_MS), method, body))
        self._next_id += 1
        self._counters.requests += 1
        self._outstanding[request_id] = answered
        self._deadlines.add(self._clock.monotonic() + timeout_s, request_id)
        return request_id

    def note(self, topic: str, body: Any) -> bool:
        if not self.is_ready or not self._has_room():
            self._counters.notes_dropped += 1
            return False
        self.send((NOTE, topic, body))
        self._counters.notes += 1
        return True

    def wakes_a_task(self) -> None:
        """For `_Call`: somebody goes on in the next turn."""
        self._weigh(_FRAMES_A_TASK - 1)

    def forget(self, request_id: int) -> None:
        """The caller waits no more."""
        if self._outstanding.pop(request_id, None) is not None:
            self._counters.requests_cancelled += 1

    def break_off(self, reason: str, *, politely: bool = False) -> None:
        """End it now: requests fail and the owner hears of it before this returns. `politely` sends what was sent."""
        self._end(reason)
        if politely:
            self.close(reason)
        else:
            self.abort(reason)

    def _has_room(self) -> bool:
        return self.unsent_bytes < self._limits.max_unsent_bytes

    def _opened(self) -> None:
        self.send(self._handshake.hello())

    def _received(self, payload: bytes) -> None:
        if self._handshake.peer is None:
            answer = self._handshake.receive(payload)
            if answer is not None:
                self.send(answer)
            if self._handshake.peer is not None:
                self._authenticated()
                self.is_ready = True
                self._tick()
                self._owner.connection_ready(self)
            return
        frame = decode_to_client(payload)
        if isinstance(frame, ReplyFrame):
            self._answer(frame.id, frame.body)
        elif isinstance(frame, PushFrame):
            self._counters.pushes += 1
            self._owner.connection_pushed(frame.topic, frame.body)
        elif isinstance(frame, ErrorFrame):
            self._answer(frame.id, FlowError.from_wire(dict(frame.error)))
        elif isinstance(frame, PongFrame):
            self._counters.round_trip_ms = self._clock.monotonic() * 1000 - frame.token / 1000

    def _answer(self, request_id: int, answer: msgspec.Raw | FlowError) -> None:
        answered = self._outstanding.pop(request_id, None)
        if answered is None:
            self._counters.late_replies += 1
        else:
            _ = attempt("an answer", answered, answer)

    def _expire(self, request_id: int) -> None:
        answered = self._outstanding.pop(request_id)
        self._counters.requests_timed_out += 1
        _ = attempt("an answer", answered, FlowError(DEADLINE_EXCEEDED))

    def _tick(self) -> None:
        """Ping, and cut a connection whose far side has said nothing for the ping timeout."""
        interval = self._limits.ping_interval_s
        now = self._clock.monotonic()
        if now - self._last_tick > 2 * interval:
            # This process itself stood still; what the peer said meanwhile may wait unread.
            self.last_heard = now
        self._last_tick = now
        if now - self.last_heard > self._limits.ping_timeout_s:
            self._counters.silent_peers_closed += 1
            self.break_off("the peer is silent")
            return
        self.send((PING, int(now * 1_000_000)))
        self._tick_timer = self._loop.call_later(interval, self._tick)

    def _violated(self, error: Exception) -> None:
        self._counters.protocol_violations += 1

    def _lost(self, reason: str) -> None:
        self._end(reason)

    def _end(self, reason: str) -> None:
        if self._broken:
            return
        self._broken = True
        self.is_ready = False
        if self._tick_timer is not None:
            self._tick_timer.cancel()
        self._deadlines.close()
        waiting = list(self._outstanding.values())
        self._outstanding.clear()
        for answered in waiting:
            _ = attempt("an answer", answered, FlowError(UNAVAILABLE))
        if not self.ended.done():
            self.ended.set_result(reason)
        self._owner.connection_broken(self, reason)
