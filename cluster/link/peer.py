"""One authenticated peer of a link server, and one request of its.

The server makes a `ServerPeer` for each connection it accepts; the service sees it as a `Peer` once the handshake is
done. It keeps the promises of `port.py`: stream order, never waiting, closing a peer that reads too slowly or says
nothing. It never looks into a body.
"""

import asyncio
import logging
from dataclasses import dataclass, field
from typing import Any, Protocol

import msgspec

from cluster.kernel.attempt import attempt
from cluster.kernel.clock import Clock
from cluster.kernel.errors import INTERNAL, TOO_LARGE, FlowError
from cluster.link.frames import ERROR, PONG, PUSH, REPLY, NoteFrame, RequestFrame, decode_to_server
from cluster.link.handshake import HandshakeFailed, Identity, ListenerHandshake
from cluster.link.port import LinkLimits, LinkService
from cluster.link.stream import FrameStream

_log = logging.getLogger("flow.link")


@dataclass(slots=True)
class ServerCounters:
    """What has happened at one server since it started."""

    connections_accepted: int = 0
    connections_refused: int = 0
    handshakes_failed: int = 0
    handshakes_timed_out: int = 0
    protocol_violations: int = 0
    slow_peers_closed: int = 0
    silent_peers_closed: int = 0
    requests: int = 0
    replies: int = 0
    errors: int = 0
    notes: int = 0
    pushes: int = 0
    service_failures: int = 0


class Registry(Protocol):
    """The server, as its connections see it."""

    def admit(self, peer: "ServerPeer") -> bool:
        """A connection was made; False refuses it."""

    def authenticated(self, peer: "ServerPeer") -> None: ...

    def gone(self, peer: "ServerPeer") -> None: ...


@dataclass(frozen=True, slots=True)
class ServerContext:
    """What all connections of one server share."""

    secret: bytes
    own: Identity
    service: LinkService
    limits: LinkLimits
    clock: Clock
    registry: Registry
    counters: ServerCounters = field(default_factory=ServerCounters)


class ServerPeer(FrameStream):
    """A `Peer`. Equal to itself alone."""

    def __init__(self, context: ServerContext) -> None:
        super().__init__(context.limits.max_frame_bytes, context.clock)
        self._context = context
        self._counters = context.counters
        self._service = context.service
        self._max_unsent_bytes = context.limits.max_unsent_bytes
        self._handshake: ListenerHandshake | None = ListenerHandshake(context.secret, context.own)
        self._identity = Identity("", "")
        self._handshake_timer: asyncio.TimerHandle | None = None

    @property
    def name(self) -> str:
        return self._identity.name

    @property
    def incarnation(self) -> str:
        return self._identity.incarnation

    @property
    def is_authenticated(self) -> bool:
        return self._handshake is None

    def push(self, topic: str, body: Any) -> bool:
        if not self._has_room():
            return False
        self.send((PUSH, topic, body))
        self._counters.pushes += 1
        return True

    def answer(self, request_id: int, body: Any) -> None:
        if not self._has_room():
            return
        try:
            self.send((REPLY, request_id, body))
            self._counters.replies += 1
        except FlowError as error:
            if error.kind is not TOO_LARGE:
                raise
            self.refuse(request_id, error)
        except TypeError:
            # A mistake of the service's: its caller must hear of it, and no other answer may suffer.
            _log.exception("an answer of type %s cannot travel on a link", type(body).__name__)
            self.refuse(request_id, FlowError(INTERNAL))

    def refuse(self, request_id: int, error: FlowError) -> None:
        if self._has_room():
            self.send((ERROR, request_id, error.to_wire()))
            self._counters.errors += 1

    def check_silence(self, now: float) -> None:
        """Cut the connection when nothing was heard for the ping timeout."""
        if self.is_open and now - self.last_heard > self._context.limits.ping_timeout_s:
            self._counters.silent_peers_closed += 1
            self.abort("the peer is silent")

    def _has_room(self) -> bool:
        """Whether one more frame may be sent; a peer at its limit is closed here."""
        if not self.is_open:
            return False
        if self.unsent_bytes < self._max_unsent_bytes:
            return True
        self._counters.slow_peers_closed += 1
        _log.warning("link peer %s reads too slowly: %d bytes unsent", self.name, self.unsent_bytes)
        self.abort("the peer reads too slowly")
        return False

    def _opened(self) -> None:
        if not self._context.registry.admit(self):
            self.abort("too many connections")
            return
        self._handshake_timer = self._loop.call_later(self._context.limits.handshake_timeout_s, self._handshake_late)

    def _handshake_late(self) -> None:
        self._counters.handshakes_timed_out += 1
        self.abort("the handshake took too long")

    def _received(self, payload: bytes) -> None:
        if self._handshake is not None:
            self._shake_hands(self._handshake, payload)
            return
        frame = decode_to_server(payload)
        if isinstance(frame, RequestFrame):
            self._counters.requests += 1
            self._serve(ServerRequest(self, frame, self.last_heard))
        elif isinstance(frame, NoteFrame):
            self._counters.notes += 1
            if attempt("a note", self._service.note, self, frame.topic, frame.body) is not None:
                self._counters.service_failures += 1
        elif self._has_room():
            self.send((PONG, frame.token))

    def _serve(self, request: "ServerRequest") -> None:
        error = attempt("a request", self._service.request, request)
        if isinstance(error, FlowError):
            request.fail(error)
        elif error is not None:
            self._counters.service_failures += 1
            request.fail(FlowError(INTERNAL))

    def _shake_hands(self, handshake: ListenerHandshake, payload: bytes) -> None:
        self.send(handshake.receive(payload))
        if handshake.peer is None:
            return
        self._identity = handshake.peer
        self._handshake = None
        if self._handshake_timer is not None:
            self._handshake_timer.cancel()
        self._authenticated()
        self._context.registry.authenticated(self)

    def _violated(self, error: Exception) -> None:
        if isinstance(error, HandshakeFailed) or not self.is_authenticated:
            self._counters.handshakes_failed += 1
        else:
            self._counters.protocol_violations += 1
        _log.warning("link connection from %s cut: %s", self.name or "a stranger", error)

    def _lost(self, reason: str) -> None:
        if self._handshake_timer is not None:
            self._handshake_timer.cancel()
        _log.debug("link peer %s gone: %s", self.name or "(unproven)", reason)
        self._context.registry.gone(self)


class ServerRequest:
    """A `Request`."""

    __slots__ = ("_answered", "_id", "body", "deadline", "method", "peer")

    def __init__(self, peer: ServerPeer, frame: RequestFrame, received_at: float) -> None:
        self._id = frame.id
        self._answered = False
        self.peer: ServerPeer = peer
        self.method: str = frame.method
        self.body: msgspec.Raw = frame.body
        self.deadline: float = received_at + frame.timeout_ms / 1000

    def reply(self, body: Any) -> None:
        if not self._answered:
            self.peer.answer(self._id, body)
            self._answered = True

    def fail(self, error: FlowError) -> None:
        if not self._answered:
            self.peer.refuse(self._id, error)
            self._answered = True
