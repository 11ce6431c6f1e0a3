"""The engine's limits: every number that bounds a socket, with its unit in its name.

The edge fills one from its settings; tests shorten the times. A limit that cannot be used is refused when it is made,
never when a client meets it.
"""

from dataclasses import dataclass, fields
from typing import Final

from cluster.kernel.errors import SETTINGS_INVALID, FlowError

EVERY_ORIGIN: Final = frozenset({"*"})


@dataclass(frozen=True, slots=True)
class EngineLimits:
    """Immutable; shared by all sockets of one engine. Raises FlowError SETTINGS_INVALID for a number below one."""

    ping_interval_ms: int = 25_000
    """Time between an answered heartbeat and the next one; told to the client."""

    ping_timeout_ms: int = 20_000
    """Time a client has to answer a heartbeat; told to the client. Also the time a POST body may take to arrive."""

    connect_timeout_ms: int = 10_000
    """Time a socket may be without any namespace, an admission may take, and promised attachments may be awaited."""

    request_timeout_ms: int = 20_000
    """Time a new connection has to send the head of its first request, whatever that is."""

    upgrade_timeout_ms: int = 10_000
    """Time between a websocket's opening as an upgrade of a polling session and its `upgrade` packet."""

    close_timeout_ms: int = 5_000
    """Time a closed socket has to read what it is owed, its close code last, before it is cut off."""

    max_payload_bytes: int = 1_000_000
    """The largest websocket message, POST body, and sum of one event's attachments; told to the client."""

    max_packets_per_payload: int = 1_000
    """Packets in one POST. A client sends all it has buffered at once, so a small number cuts honest clients off."""

    max_packets_per_poll: int = 16
    """Packets in one answer to a poll; the rest waits for the next. python-engineio's client takes no more than 16."""

    max_outbox_bytes: int = 1_048_576
    """Bytes written to a socket and not yet taken by it; over this it is closed as a slow consumer.

    One message larger than this still goes to a socket that owes nothing.
    """

    max_events_waiting_for_connect: int = 64
    """Events a client may send to a namespace before the application has admitted it there."""

    max_attachments: int = 10
    """Binary attachments of one event; the JavaScript client takes no more than ten either."""

    max_sockets: int = 18_000
    """Sockets of one engine; a handshake beyond is answered 503. Leave room under the process's file limit."""

    cors_allowed_origins: frozenset[str] = frozenset()
    """Origins beside the server's own, such as `https://flow.example`; `EVERY_ORIGIN` lets any page connect."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, int) and value < 1:
                raise FlowError(SETTINGS_INVALID, f"{field.name} must be at least 1, not {value}.")

    @property
    def ping_interval_s(self) -> float:
        return self.ping_interval_ms / 1000

    @property
    def ping_timeout_s(self) -> float:
        return self.ping_timeout_ms / 1000

    @property
    def connect_timeout_s(self) -> float:
        return self.connect_timeout_ms / 1000

    @property
    def request_timeout_s(self) -> float:
        return self.request_timeout_ms / 1000

    @property
    def upgrade_timeout_s(self) -> float:
        return self.upgrade_timeout_ms / 1000

    @property
    def close_timeout_s(self) -> float:
        return self.close_timeout_ms / 1000
