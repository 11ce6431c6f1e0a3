"""The socket engine's contract with the edge: Socket.IO connections in, encoded events out.

The engine owns the protocol (Engine.IO v4, Socket.IO v5, both parsers, websocket and long polling), the sockets, their
heartbeats and their bounded outboxes. It knows nothing of rooms, users or tokens: the application decides who may
connect and which connections an event goes to.

Order: the events of one socket reach the application in the order the client sent them, and everything sent to one
socket reaches it in the order it was sent, acks and events alike.
Delivery: at most once to a live socket. A socket whose outbox is over its byte limit is closed with SLOW_CONSUMER.
"""

from collections.abc import Iterable
from typing import Any, Protocol

from cluster.kernel.errors import ErrorKind


class EncodedEvent(Protocol):
    """One event for one namespace, encoded once per codec and framing, however many connections it goes to.

    Its arguments must not be changed after `Engine.encode`.
    """

    @property
    def namespace(self) -> str: ...

    def with_offset(self, offset: str) -> "EncodedEvent":
        """The same event with `offset` as one argument more, which a client that was given a `pid` keeps and shows
        when it comes back. Only that argument is encoded anew. It may have printable ASCII without quotes and
        backslashes. Not for an event with binary attachments.
        """


class Connection(Protocol):
    """One socket's connection to one namespace. Hashable by identity."""

    id: str
    """The Socket.IO id that the client is told; unique among live connections of every edge. `connect` may set it, to
    give a client that comes back the id it had."""

    pid: str | None
    """Connection state recovery: what `connect` wants the client to show when it comes back. None: nothing."""

    socket_id: str
    """The Engine.IO session id: the same for all namespaces of one socket."""

    namespace: str

    state: Any
    """The application's own; None until it sets it in `connect`."""

    @property
    def is_open(self) -> bool:
        """Whether the socket lives and the client has not left; true while `connect` still ponders.

        False at once when either side has closed, before `disconnected` is called.
        """

    @property
    def keeps_offsets(self) -> bool:
        """Whether this is a client that keeps the offset of an event by itself, as far as its first request tells."""

    def emit(self, name: str, *args: Any) -> None:
        """Send one event to this connection alone; nothing happens when it is not open.

        Before `connect` has returned, what is sent is held, bounded, until the client has been told that it is
        connected. Raises TypeError for arguments that have no form in the client's parser.
        """

    def send(self, event: EncodedEvent) -> None:
        """Send an already encoded event; it must be of this connection's namespace."""

    def unsend(self) -> None:
        """Forget what was sent before `connect` has returned."""

    @property
    def unsent_bytes(self) -> int:
        """What the whole socket was sent and has not taken yet."""

    def close(self, kind: ErrorKind) -> None:
        """Close the whole socket, all its namespaces. A websocket client sees `kind.close_code` and `kind.code`.

        1011 stands for a kind without a close code. "Come back" (below 3500) closes the transport alone, on which a
        Socket.IO client reconnects by itself; from 3500 on every namespace gets a DISCONNECT first, after which it
        stays away. May be called from anywhere; the second call does nothing.
        """


class Handshake(Protocol):
    """What is known of a socket when it connects to a namespace."""

    @property
    def auth(self) -> Any:
        """The `auth` payload of the CONNECT packet; None when there is none. Anything JSON can hold."""

    @property
    def remote_address(self) -> str: ...

    @property
    def origin(self) -> str | None: ...

    @property
    def query(self) -> dict[str, str]: ...


class Ack(Protocol):
    """Answers one event. Only the first call counts; after the socket has gone it does nothing."""

    def __call__(self, *args: Any) -> None: ...


class EngineApplication(Protocol):
    """What the engine serves. Nothing here may block the loop."""

    def namespaces(self) -> frozenset[str]:
        """The namespaces that exist; a CONNECT to any other is refused with {"message": "Invalid namespace"}."""

    async def connect(self, connection: Connection, handshake: Handshake) -> None:
        """Admit a connection or raise FlowError, whose `to_wire()` becomes the data of CONNECT_ERROR.

        Events that the client sends meanwhile are kept, bounded, and delivered after this returns. It is cancelled
        and refused as DEADLINE_EXCEEDED when it takes longer than the connect timeout, and only then: if the client
        leaves while it runs, `is_open` turns false, and `disconnected` follows once it has returned.
        """

    def event(self, connection: Connection, name: str, args: list[Any], ack: Ack | None) -> None:
        """One event, in order. `ack` is None when the client did not ask for one. Returns at once.

        An exception is logged and closes the socket as INTERNAL.
        """

    def disconnected(self, connection: Connection, reason: str) -> None:
        """The connection has gone. Called exactly once for each connection that `connect` admitted.

        Always in a loop turn of its own, never from inside a call that the application makes. `reason` is the code of
        the error kind it was closed with, or `transport_close`, `transport_error`, `client_disconnect`, `too_large`.
        """


class Engine(Protocol):
    """Made by `realtime.engine.server.SocketEngine`; mounted on an aiohttp application."""

    def encode(self, namespace: str, name: str, *args: Any) -> EncodedEvent: ...

    def broadcast(self, connections: Iterable[Connection], event: EncodedEvent) -> None:
        """Send to many, all of the event's namespace. Messages of one loop turn leave each socket in one write."""

    def statistics(self) -> dict[str, float]:
        """Gauges and counters: sockets, connections, bytes unsent, closes by code, packets in and out."""

    def refuse_new(self) -> None:
        """Take no new session; those there are go on."""

    async def close(self, kind: ErrorKind, *, spread_s: float = 0.0, within_s: float | None = None) -> None:
        """Accept nothing more and close every socket with `kind`, spread evenly over `spread_s` seconds.

        After the last close they have `within_s` seconds, by default the close timeout, to take it.
        """
