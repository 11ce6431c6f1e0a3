"""One socket's connection to one namespace, as the application sees it (`port.Connection`), and the acks of its events.

A connection is being admitted, open, or over. What is sent to it while it is being admitted is held, so that a client
never sees an event before its CONNECT is answered; events that the client sends meanwhile wait for the application.
"""

from collections.abc import Iterable
from enum import Enum, auto
from sys import intern
from typing import Any, Final, NamedTuple
from urllib.parse import parse_qsl

from cluster.kernel.errors import SLOW_CONSUMER, ErrorKind
from realtime.engine.events import JSON, OutgoingEvent
from realtime.engine.packets import ACK, EVENT, Codec, Packet, PacketKind
from realtime.engine.port import EncodedEvent
from realtime.engine.session import Peer, Session
from realtime.engine.wire import Wire

_MAX_HELD: Final = 1_000


class Phase(Enum):
    ADMITTING = auto()
    OPEN = auto()
    OVER = auto()


OPEN: Final = Phase.OPEN
_OVER: Final = Phase.OVER
"""As in `packets`."""


class NamespaceConnection:
    """Hashable by identity. `phase`, `waiting` and `end_reason` belong to the socket's Socket.IO side; `session` and
    `codec` never change."""

    __slots__ = (
        "_held",
        "codec",
        "end_reason",
        "id",
        "namespace",
        "phase",
        "pid",
        "session",
        "socket_id",
        "state",
        "waiting",
    )

    def __init__(self, session: Session, codec: Codec, connection_id: str, namespace: str) -> None:
        self.id = connection_id
        self.socket_id = session.id
        self.namespace = intern(namespace)  # every event that is sent here is held to it
        self.pid: str | None = None
        self.state: Any = None
        self.phase = Phase.ADMITTING
        self.waiting: list[Packet] = []
        self.end_reason = ""
        self.session = session
        self.codec = codec
        self._held: list[Wire] = []

    @property
    def is_open(self) -> bool:
        return self.phase is not _OVER and self.session.is_open

    def emit(self, name: str, *args: Any) -> None:
        self.send_packet(Packet(EVENT, self.namespace, [name, *args]))

    @property
    def keeps_offsets(self) -> bool:
        return self.session.peer.keeps_offsets

    def send(self, event: EncodedEvent) -> None:
        assert isinstance(event, OutgoingEvent), "an event of another engine"
        share_with((self,), event)

    def unsend(self) -> None:
        if self.phase is Phase.ADMITTING:
            self._held.clear()

    @property
    def unsent_bytes(self) -> int:
        return self.session.transport.unsent_bytes()

    def close(self, kind: ErrorKind) -> None:
        self.session.close(kind)

    def send_packet(self, packet: Packet) -> None:
        if self.phase is not _OVER and self.session.is_open:
            self.send_wire(self.codec.encode(packet))

    def send_wire(self, wire: Wire) -> None:
        if self.phase is OPEN:
            if self.session.is_open:
                self.session.transport.push(wire)
        elif self.phase is Phase.ADMITTING:
            self._held.append(wire)
            if len(self._held) > _MAX_HELD:
                self.session.close(SLOW_CONSUMER)

    def open(self) -> None:
        """Answer the client's CONNECT, then send what was held."""
        self.phase = Phase.OPEN
        told = {"sid": self.id} if self.pid is None else {"sid": self.id, "pid": self.pid}
        self.pid = None  # told once, and not worth keeping
        self.session.send(self.codec.encode(Packet(PacketKind.CONNECT, self.namespace, told)))
        held, self._held = self._held, []
        for wire in held:
            self.session.send(wire)


def share_with(connections: "Iterable[NamespaceConnection]", event: OutgoingEvent) -> None:
    """Send one event to many of its namespace.

    One loop and no call on the way to a transport: each message comes here once, and goes round once for every socket.
    """
    opened, namespace, json, in_json = OPEN, event.packet.namespace, JSON, event.wire(JSON)
    for connection in connections:
        assert connection.namespace == namespace, f"an event for {namespace} sent to {connection.namespace}"
        wire = in_json if connection.codec is json else event.wire(connection.codec)
        session = connection.session
        if connection.phase is opened and session.is_open:
            session.transport.share(wire)
        else:
            connection.send_wire(wire)


class Acknowledgement:
    """Answers one event of a client, once."""

    __slots__ = ("_connection", "_id")

    def __init__(self, connection: NamespaceConnection, event_id: int) -> None:
        self._connection: NamespaceConnection | None = connection
        self._id = event_id

    def __call__(self, *args: Any) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.send_packet(Packet(ACK, connection.namespace, list(args), self._id))


class ConnectHandshake(NamedTuple):
    """What the application may know of a client that asks to be admitted (`port.Handshake`)."""

    auth: Any
    peer: Peer

    @property
    def remote_address(self) -> str:
        return self.peer.remote_address

    @property
    def origin(self) -> str | None:
        return self.peer.origin

    @property
    def query(self) -> dict[str, str]:
        return dict(parse_qsl(self.peer.query_string, keep_blank_values=True))
