"""The sockets of this edge and whose they are: one record a socket, shared by its connections to namespaces.

The application makes and ends them; recovery reads whose sessions must be told of them again; the expiry watch reads
when their tokens end. Pure. It promises that a socket belongs to one person and one session for its whole life.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from actors.messages import Attachment
from cluster.kernel.errors import UNAUTHENTICATED, FlowError
from realtime.admission import Admission, SocketBuckets
from realtime.auth import Identity
from realtime.engine.port import Connection


@dataclass(slots=True, eq=False)
class Socket:
    """One socket. `expires_at_ms` is wall time; `pending` are admissions under way."""

    id: str
    user_id: str
    username: str
    session_id: str
    expires_at_ms: int
    buckets: SocketBuckets
    connections: set[Connection] = field(default_factory=set)
    pending: int = 0
    is_attached: bool = False
    is_warned: bool = False
    is_leaving: bool = False
    """It is about to be sent elsewhere: what it asks now it must ask there."""

    def renew(self, identity: Identity) -> None:
        """A newer token. Raises FlowError UNAUTHENTICATED when it is another person's or another session's."""
        if (identity.user_id, identity.session_id) != (self.user_id, self.session_id):
            raise FlowError(UNAUTHENTICATED, "This token is not of the person and session of this connection.")
        if identity.expires_at_ms > self.expires_at_ms:
            self.expires_at_ms = identity.expires_at_ms
            self.is_warned = False


@dataclass(slots=True, eq=False)
class Person:
    """The state of one connection: its socket, and how many of its requests are under way."""

    socket: Socket
    under_way: int = 0

    @property
    def user_id(self) -> str:
        return self.socket.user_id


class Sockets:
    """Every socket that has, or is about to have, a connection."""

    def __init__(self, admission: Admission) -> None:
        self._admission = admission
        self._by_id: dict[str, Socket] = {}
        self._by_user: dict[str, set[Socket]] = {}
        self._by_session: dict[str, set[Socket]] = {}

    def enter(self, socket_id: str, identity: Identity, address: str) -> Socket:
        """One more admission on this socket. Raises FlowError when the socket or the person may not have it."""
        socket = self._by_id.get(socket_id)
        if socket is None:
            self._admission.admit(socket_id, identity.user_id, address)
            socket = Socket(
                socket_id,
                identity.user_id,
                identity.username,
                identity.session_id,
                identity.expires_at_ms,
                self._admission.buckets(),
            )
            self._by_id[socket_id] = socket
            self._by_user.setdefault(socket.user_id, set()).add(socket)
            self._by_session.setdefault(socket.session_id, set()).add(socket)
        else:
            socket.renew(identity)
        socket.pending += 1
        return socket

    def admitted(self, socket: Socket, connection: Connection) -> None:
        socket.pending -= 1
        socket.connections.add(connection)

    def refused(self, socket: Socket) -> bool:
        """True when that was the socket's last hold here."""
        socket.pending -= 1
        return self._end_if_empty(socket)

    def leave(self, socket: Socket, connection: Connection) -> bool:
        """True when that was the socket's last connection."""
        socket.connections.discard(connection)
        return self._end_if_empty(socket)

    def _end_if_empty(self, socket: Socket) -> bool:
        if socket.connections or socket.pending or self._by_id.pop(socket.id, None) is None:
            return False
        self._admission.release(socket.id)
        for known, name in ((self._by_user, socket.user_id), (self._by_session, socket.session_id)):
            known[name].discard(socket)
            if not known[name]:
                del known[name]
        return True

    def get(self, socket_id: str) -> Socket | None:
        return self._by_id.get(socket_id)

    def all(self) -> list[Socket]:
        return list(self._by_id.values())

    def sessions(self) -> list[str]:
        """Every session that has a socket here."""
        return list(self._by_session)

    def of_session(self, session_id: str) -> list[Socket]:
        return list(self._by_session.get(session_id, ()))

    def people(self) -> list[str]:
        """Everyone who has a socket here."""
        return list(self._by_user)

    def attachments(self, user_ids: Iterable[str]) -> list[Attachment]:
        """The sockets of these people, as their sessions are told of them."""
        return [
            Attachment(user=user_id, connection=socket.id)
            for user_id in user_ids
            for socket in self._by_user.get(user_id, ())
        ]

    def __len__(self) -> int:
        return len(self._by_id)
