"""The Socket.IO side of one session (protocol v5): namespaces, events, acks and attachments.

The `MessageHandler` of its session. It turns packets into calls of the application in the order they came, and keeps
the rules of who may send what when; whatever breaks them raises ProtocolViolation and the session ends. An admission
runs in a task of its own; nothing else here does.
"""

import asyncio
import logging
from collections.abc import Iterator
from functools import partial
from typing import Final

from cluster.kernel.errors import DEADLINE_EXCEEDED, INTERNAL, OVERLOADED, PROTOCOL_ERROR, STALE, FlowError
from realtime.engine.connection import Acknowledgement, ConnectHandshake, NamespaceConnection, Phase
from realtime.engine.packets import Codec, Packet, PacketKind, ProtocolViolation, attach
from realtime.engine.port import EngineApplication
from realtime.engine.runtime import Runtime
from realtime.engine.session import Session
from realtime.engine.wire import Wire

_CLIENT_LEFT: Final = "client_disconnect"

_logger = logging.getLogger("flow.engine")


class _Patience:
    """How long one admission may take: in the engine's wheel, because a timer for each is dear."""

    __slots__ = ("_is_late", "_task", "wheel_slot")

    def __init__(self, task: "asyncio.Task[None] | None") -> None:
        self.wheel_slot = -1
        self._task = task
        self._is_late = False

    def tick(self, now: float) -> float | None:
        assert self._task is not None, "an admission is a task"
        self._is_late = True
        self._task.cancel()
        return None

    def is_over(self) -> bool:
        """Asked of a cancelled task: whether it was for this, and for nothing else."""
        return self._is_late and self._task is not None and self._task.uncancel() == 0


class SocketIoClient:
    """One per session."""

    __slots__ = ("_application", "_attachments", "_codec", "_connections", "_partial", "_runtime", "_session")

    def __init__(self, runtime: Runtime, application: EngineApplication, codec: Codec, session: Session) -> None:
        self._runtime = runtime
        self._application = application
        self._codec = codec
        self._session = session
        self._connections: dict[str, NamespaceConnection] = {}
        self._partial: Packet | None = None
        self._attachments: list[bytes] = []
        session.set_deadline(runtime.limits.connect_timeout_s)

    def message(self, data: str | bytes) -> None:
        if self._partial is not None:
            self._attach(self._partial, data)
            return
        packet = self._codec.decode(data)
        if packet.attachments == 0:
            self._dispatch(packet)
            return
        if packet.attachments > self._runtime.limits.max_attachments:
            raise ProtocolViolation("too many attachments")
        self._partial = packet
        self._session.set_deadline(self._runtime.limits.connect_timeout_s)

    def _attach(self, packet: Packet, data: str | bytes) -> None:
        if isinstance(data, str):
            raise ProtocolViolation("text where an attachment was promised")
        self._attachments.append(data)
        if sum(map(len, self._attachments)) > self._runtime.limits.max_payload_bytes:
            raise ProtocolViolation("attachments larger than a payload may be")
        if len(self._attachments) == packet.attachments:
            whole = packet._replace(data=attach(packet.data, self._attachments), attachments=0)
            self._partial, self._attachments = None, []
            self._watch_idle()
            self._dispatch(whole)

    def _dispatch(self, packet: Packet) -> None:
        connection = self._connections.get(packet.namespace)
        if packet.kind is PacketKind.CONNECT:
            if connection is not None:
                raise ProtocolViolation("already connected to this namespace")
            self._connect(packet)
        elif connection is None:
            raise ProtocolViolation("not connected to this namespace")
        elif packet.kind is PacketKind.EVENT:
            self._receive_event(connection, packet)
        elif packet.kind is PacketKind.DISCONNECT:
            del self._connections[packet.namespace]
            self._watch_idle()
            if self._leave(connection, _CLIENT_LEFT):
                self._runtime.loop.call_soon(self._disconnected, connection, _CLIENT_LEFT)

    def _receive_event(self, connection: NamespaceConnection, packet: Packet) -> None:
        if connection.phase is Phase.OPEN:
            self._deliver(connection, packet)
            return
        connection.waiting.append(packet)
        if len(connection.waiting) > self._runtime.limits.max_events_waiting_for_connect:
            raise ProtocolViolation("too many events before the namespace was connected")

    def _deliver(self, connection: NamespaceConnection, packet: Packet) -> None:
        name, *args = packet.data
        ack = None if packet.id is None else Acknowledgement(connection, packet.id)
        try:
            self._application.event(connection, _event_name(name), args, ack)
        except Exception:
            _logger.exception("the application failed on an event of namespace %s", connection.namespace)
            self._session.failed()

    def _connect(self, packet: Packet) -> None:
        namespace = packet.namespace
        if namespace not in self._application.namespaces():
            self._refuse(namespace, {"message": "Invalid namespace"})
            return
        connection = NamespaceConnection(self._session, self._codec, self._runtime.new_id(), namespace)
        self._connections[namespace] = connection
        self._watch_idle()
        handshake = ConnectHandshake(packet.data, self._session.peer)
        self._runtime.counters.admissions += 1
        self._runtime.pacer.add(partial(self._begin, connection, handshake))

    def _begin(self, connection: NamespaceConnection, handshake: ConnectHandshake) -> None:
        """Its turn has come."""
        if connection.phase is Phase.OVER:
            self._runtime.counters.admissions -= 1
            return
        try:
            _ = self._runtime.tasks.start("admit", self._admit(connection, handshake))
        except RuntimeError:
            self._runtime.counters.admissions -= 1
            self._turn_away(connection, _connect_error(FlowError(OVERLOADED)))

    async def _admit(self, connection: NamespaceConnection, handshake: ConnectHandshake) -> None:
        # What is kept is what the client is told: an error that is kept where it was caught holds this very frame.
        refusal: dict[str, object] | None = None
        runtime, patience = self._runtime, _Patience(asyncio.current_task())
        runtime.wheel.schedule(patience, runtime.clock.monotonic() + runtime.limits.connect_timeout_s)
        try:
            await self._application.connect(connection, handshake)
        except FlowError as error:
            refusal = _connect_error(error)
        except asyncio.CancelledError:
            if not patience.is_over():
                raise
            refusal = _connect_error(FlowError(DEADLINE_EXCEEDED))
        except TimeoutError:
            refusal = _connect_error(FlowError(DEADLINE_EXCEEDED))
        except Exception:
            _logger.exception("the application failed to admit a connection to namespace %s", connection.namespace)
            refusal = _connect_error(FlowError(INTERNAL))
        finally:
            runtime.wheel.forget(patience)
            runtime.counters.admissions -= 1
        if refusal is None:
            self._admitted(connection)
        elif connection.phase is not Phase.OVER:
            self._turn_away(connection, refusal)

    def _turn_away(self, connection: NamespaceConnection, refusal: dict[str, object]) -> None:
        connection.phase = Phase.OVER
        del self._connections[connection.namespace]
        self._refuse(connection.namespace, refusal)
        self._watch_idle()

    def _admitted(self, connection: NamespaceConnection) -> None:
        if connection.phase is Phase.OVER:
            self._disconnected(connection, connection.end_reason)
            return
        self._runtime.counters.connections += 1
        connection.open()
        waiting, connection.waiting = connection.waiting, []
        for packet in waiting:
            if connection.is_open:
                self._deliver(connection, packet)

    def _refuse(self, namespace: str, data: dict[str, object]) -> None:
        self._session.send(self._codec.encode(Packet(PacketKind.CONNECT_ERROR, namespace, data)))

    def _watch_idle(self) -> None:
        """A socket without a namespace is on the clock; one with a namespace is not, unless it owes attachments."""
        if self._partial is None:
            self._session.set_deadline(None if self._connections else self._runtime.limits.connect_timeout_s)

    def expired(self) -> None:
        self._session.close(STALE if self._partial is None else PROTOCOL_ERROR)

    def farewell(self) -> Iterator[Wire]:
        for namespace in self._connections:
            yield self._codec.encode(Packet(PacketKind.DISCONNECT, namespace))

    def closed(self, reason: str) -> None:
        connections, self._connections = self._connections, {}
        for connection in connections.values():
            if self._leave(connection, reason):
                self._disconnected(connection, reason)

    def _leave(self, connection: NamespaceConnection, reason: str) -> bool:
        """Whether the application had admitted it; if it still ponders, it is told when it has answered."""
        was_open = connection.phase is Phase.OPEN
        connection.phase = Phase.OVER
        connection.end_reason = reason
        connection.waiting = []
        self._runtime.counters.connections -= was_open
        return was_open

    def _disconnected(self, connection: NamespaceConnection, reason: str) -> None:
        try:
            self._application.disconnected(connection, reason)
        except Exception:
            _logger.exception("the application failed on the end of a connection to namespace %s", connection.namespace)
            self._runtime.counters.application_errors += 1


def _event_name(name: str | float) -> str:
    """JavaScript may name an event by a number, which its emitter treats as the text of it."""
    if isinstance(name, str):
        return name
    return str(int(name)) if name == int(name) else repr(name)


def _connect_error(error: FlowError) -> dict[str, object]:
    return {"message": error.message, "data": error.to_wire()}
