"""One Engine.IO session (protocol v4): a socket's life, its heartbeat, and the packets in and out.

Made by an endpoint, given a transport and a handler for its messages. The handler is told of the end exactly once and
always in a loop turn of its own, so a session may be closed from anywhere. A session outlives its first transport: an
upgrade puts a websocket in the place of polling.
"""

import logging
import math
from collections.abc import Iterable
from functools import partial
from typing import Final, NamedTuple, Protocol

from cluster.kernel.errors import INTERNAL, NO_PONG, PROTOCOL_ERROR, SLOW_CONSUMER, ErrorKind
from realtime.engine.packets import ProtocolViolation
from realtime.engine.runtime import Runtime
from realtime.engine.transport import Transport
from realtime.engine.wire import PING_PACKET, Wire

_logger = logging.getLogger("flow.engine")

_INTERNAL_CLOSE_CODE: Final = 1011
_NORMAL_CLOSE_CODE: Final = 1000
_DO_NOT_COME_BACK: Final = 3500


class Peer(NamedTuple):
    """Who opened the session, as its first request said. `keeps_offsets`: see `offset_keeper`."""

    remote_address: str
    origin: str | None
    query_string: str
    keeps_offsets: bool = False


class MessageHandler(Protocol):
    """What a session carries. `message` may raise ProtocolViolation and nothing else."""

    def message(self, data: str | bytes) -> None: ...

    def farewell(self) -> Iterable[Wire]:
        """What tells the client not to come back."""

    def expired(self) -> None:
        """The deadline that was set on the session has passed."""

    def closed(self, reason: str) -> None: ...


class Probe(Protocol):
    """An upgrade of the session that is under way."""

    def session_ended(self) -> None: ...


class Session:
    """Use: make it, set `transport` and `handler`, then `start`."""

    __slots__ = (
        "_awaiting_pong",
        "_deadline",
        "_heartbeat_at",
        "_runtime",
        "endpoint",
        "handler",
        "id",
        "is_open",
        "peer",
        "probe",
        "transport",
        "wheel_slot",
    )

    def __init__(self, runtime: Runtime, endpoint: object, peer: Peer) -> None:
        """`endpoint` is whoever made it: its id is worth nothing at another."""
        self._runtime = runtime
        self.endpoint = endpoint
        self.id = runtime.new_id()
        self.peer = peer
        self.is_open = True
        self.probe: Probe | None = None
        self.transport: Transport
        self.handler: MessageHandler
        self.wheel_slot = -1
        self._awaiting_pong = False
        self._heartbeat_at = 0.0
        self._deadline = math.inf

    def start(self) -> None:
        """Tell the client its session id and begin the heartbeat."""
        self.transport.push(Wire(self._runtime.opening(self.id, self.transport.name)))
        self._runtime.remember(self)
        self._rest()

    def _rest(self) -> None:
        """Wait one interval until the next ping; up to a tick less, because the wheel is up to a tick late."""
        self._awaiting_pong = False
        wheel = self._runtime.wheel
        self._heartbeat_at = self._runtime.clock.monotonic() + self._runtime.limits.ping_interval_s - wheel.tick_s
        wheel.schedule(self, self._heartbeat_at)

    def set_deadline(self, seconds: float | None) -> None:
        """Call the handler's `expired` after so many seconds, or not at all; replaces the deadline before it."""
        if seconds is None:
            self._deadline = math.inf
            return
        self._deadline = self._runtime.clock.monotonic() + seconds
        self._runtime.wheel.schedule(self, self._deadline)

    def tick(self, now: float) -> float | None:
        if self.is_open and now >= self._heartbeat_at:
            self._beat(now)
        if self.is_open and now >= self._deadline:
            self._deadline = math.inf
            self.handler.expired()
        return min(self._heartbeat_at, self._deadline) if self.is_open else None

    def _beat(self, now: float) -> None:
        if self._awaiting_pong:
            self.close(NO_PONG)
            return
        self._awaiting_pong = True
        self._heartbeat_at = now + self._runtime.limits.ping_timeout_s
        self.transport.push(PING_PACKET)

    def is_alive(self) -> bool:
        """Whether the session is open and its heartbeat in time, to the moment and not to the wheel's tick."""
        if self.is_open and self._awaiting_pong and self._runtime.clock.monotonic() >= self._heartbeat_at:
            self.close(NO_PONG)
        return self.is_open

    def send(self, wire: Wire) -> None:
        if self.is_open:
            self.transport.push(wire)

    def receive(self, packet: str | bytes) -> bool:
        if not self.is_open:
            if packet == "1":
                self.transport.abort()
            return True
        self._runtime.counters.packets_in += 1
        try:
            self._receive(packet)
        except ProtocolViolation as violation:
            _logger.debug("session %s broke the protocol: %s", self.id, violation)
            self.violated()
            return False
        return True

    def violated(self) -> None:
        """The client broke the protocol."""
        self._runtime.counters.violations += 1
        self.close(PROTOCOL_ERROR, linger=False)

    def _receive(self, packet: str | bytes) -> None:
        if isinstance(packet, bytes):
            self.handler.message(packet)
            return
        kind = packet[:1]
        if kind == "4":
            self.handler.message(packet[1:])
        elif kind == "3":
            if self._awaiting_pong:
                self._rest()
        elif kind == "1":
            self._end("transport_close")
            self.transport.close(_NORMAL_CLOSE_CODE, "", by_client=True)
        elif kind != "6":
            raise ProtocolViolation("a packet that a client may not send now")

    def close(self, kind: ErrorKind, *, linger: bool = True) -> None:
        """End the session from our side.

        A client that is told "come back" only loses its transport, because that makes it reconnect; one that is told
        not to gets the handler's farewell first. With `linger` a polling client may still fetch that, and what else it
        is owed.
        """
        if not self.is_open:
            return
        code = kind.close_code or _INTERNAL_CLOSE_CODE
        if code >= _DO_NOT_COME_BACK:
            for wire in self.handler.farewell():
                self.transport.push(wire)
        self._end(kind.code)
        self.transport.close(code, kind.code, linger=linger and kind is not NO_PONG)

    def overflowed(self) -> None:
        self.close(SLOW_CONSUMER)

    def failed(self) -> None:
        """The application made a mistake while it served this session; it was logged where it rose."""
        self._runtime.counters.application_errors += 1
        self.close(INTERNAL)

    def lost(self, reason: str) -> None:
        self._runtime.forget(self)
        if self.is_open:
            self._end(reason)

    def _end(self, reason: str) -> None:
        self.is_open = False
        self._runtime.counters.closes[reason] += 1
        self._runtime.endings.add(partial(self.handler.closed, reason))
        del self.handler  # it knows the session, and a cycle would wait for the collector
        if self.probe is not None:
            self.probe.session_ended()

    def take_transport(self, transport: Transport) -> None:
        """Complete an upgrade."""
        self.probe = None
        self.transport = transport
        self._runtime.counters.upgrades += 1
