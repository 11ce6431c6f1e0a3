"""The Socket.IO side of one session (protocol v5): namespaces, events, acks and attachments.

The `MessageHandler` of its session. It turns packets into calls of the application in the order they came, and keeps
the rules of who may send what when; whatever breaks them raises ProtocolViolation and the session ends. Never awaits:
an admission (`admission.py`) runs in a task of its own.
"""

import logging
from collections.abc import Iterator
from typing import Final

from cluster.kernel.errors import PROTOCOL_ERROR, STALE
from realtime.engine.admission import Admission
from realtime.engine.connection import OPEN, Acknowledgement, ConnectHandshake, NamespaceConnection, Phase
from realtime.engine.packets import EVENT, Codec, Packet, PacketKind, ProtocolViolation, attach
from realtime.engine.port import EngineApplication
from realtime.engine.runtime import Runtime
from realtime.engine.session import Session
from realtime.engine.wire import Wire

_CLIENT_LEFT: Final = "client_disconnect"

_logger = logging.getLogger("flow.engine")


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
        if packet.kind is EVENT and connection is not None:
            self._receive_event(connection, packet)
        elif packet.kind is PacketKind.CONNECT:
            if connection is not None:
                raise ProtocolViolation("already connected to this namespace")
            self._connect(packet)
        elif connection is None:
            raise ProtocolViolation("not connected to this namespace")
        elif packet.kind is PacketKind.DISCONNECT:
            del self._connections[packet.namespace]
            self._watch_idle()
            if self._leave(connection, _CLIENT_LEFT):
                self._runtime.loop.call_soon(self._disconnected, connection, _CLIENT_LEFT)

    def _receive_event(self, connection: NamespaceConnection, packet: Packet) -> None:
        if connection.phase is OPEN:
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
        admission = Admission(self._runtime, self._application, connection, handshake, self._admitted, self._turn_away)
        self._runtime.admissions.add(admission.begin)

    def _turn_away(self, connection: NamespaceConnection, refusal: dict[str, object]) -> None:
        if connection.phase is Phase.OVER:
            return
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
