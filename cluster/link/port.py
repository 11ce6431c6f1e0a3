"""The link's contract: one persistent, authenticated, ordered stream between two processes of the cluster.

Edges and hosts dial hosts. Over one link the client sends requests and one-way notes, the server answers and pushes.

Order: everything one side sends on one link arrives in the order it was sent, replies and pushes interleaved as they
were written. A reply that was written after a push is seen after that push.
Delivery: at most once. A link that breaks fails its outstanding requests with UNAVAILABLE (their outcome is unknown);
whoever needs more carries an idempotency key and resumes by position.
Bounds: a frame has a maximum size, a client a maximum of outstanding requests (OVERLOADED past it), a server a maximum
of unsent bytes for one peer; past that the peer is closed, never waited for.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec

from cluster.kernel.errors import FlowError

Answered = Callable[[msgspec.Raw | FlowError], None]
"""Hears how a request ended, once: the reply's msgpack body, or what the future of `LinkClient.call` would have failed
with. It must not block; what it raises is logged."""


@dataclass(frozen=True, slots=True)
class LinkLimits:
    """Bounds of one link. Zero is not allowed anywhere."""

    max_frame_bytes: int = 8 * 1024 * 1024
    max_outstanding_requests: int = 8_192
    max_unsent_bytes: int = 64 * 1024 * 1024
    handshake_timeout_s: float = 3.0
    ping_interval_s: float = 1.0
    ping_timeout_s: float = 3.0
    max_connections: int = 1_024
    """Of one server; those still in their handshake are counted too."""
    max_pending_handshakes: int = 128

    def __post_init__(self) -> None:
        for name in self.__slots__:
            if getattr(self, name) <= 0:
                raise ValueError(f"a link's {name} must be more than 0")


class Peer(Protocol):
    """The far side of a link, as a server sees it. Hashable; two links of one process are two peers."""

    @property
    def name(self) -> str:
        """The far process's member name, such as `edge-0`; proven by the handshake."""

    @property
    def incarnation(self) -> str:
        """A value that is new each time that process starts."""

    def push(self, topic: str, body: Any) -> bool:
        """Send a one-way message; never waits. False when the peer is closed or was closed for being too slow.

        Raises FlowError TOO_LARGE for a body over the frame limit.
        """

    def close(self, reason: str) -> None:
        """End the link after what was sent; the service hears `peer_lost` later, not within this call."""


class Request(Protocol):
    """One request as the server's service sees it. Exactly one of `reply` and `fail` takes effect, the first."""

    @property
    def peer(self) -> Peer: ...

    @property
    def method(self) -> str: ...

    @property
    def body(self) -> msgspec.Raw:
        """The undecoded msgpack body."""

    @property
    def deadline(self) -> float:
        """When the caller stops waiting, on this process's `Clock.monotonic`."""

    def reply(self, body: Any) -> None:
        """Answer. A body over the frame limit is answered TOO_LARGE; an answer to a peer that is gone is dropped."""

    def fail(self, error: FlowError) -> None: ...


class LinkService(Protocol):
    """What a server serves. All methods are called on the loop, in stream order, and must not block.

    A FlowError that `request` raises fails that request; any other exception is logged and fails it with INTERNAL.
    """

    def peer_connected(self, peer: Peer) -> None: ...

    def peer_lost(self, peer: Peer) -> None: ...

    def request(self, request: Request) -> None: ...

    def note(self, peer: Peer, topic: str, body: msgspec.Raw) -> None:
        """A one-way message from the client."""


class LinkListener(Protocol):
    """What a client's owner hears. Called on the loop, in stream order, and must not block."""

    def connected(self) -> None:
        """The far side has proven itself; comes before any push of this connection."""

    def disconnected(self, reason: str) -> None:
        """Once for each `connected`, closing the link included; outstanding requests have failed already."""

    def pushed(self, topic: str, body: msgspec.Raw) -> None: ...


class LinkClient(Protocol):
    """A link that keeps itself alive: it dials again with jittered back-off until closed."""

    @property
    def is_connected(self) -> bool: ...

    def call(self, method: str, body: Any, timeout_s: float) -> asyncio.Future[msgspec.Raw]:
        """Ask: the request is on the stream, in order, when this returns; the future holds the reply's msgpack body.

        The future fails with the far side's FlowError, DEADLINE_EXCEEDED after `timeout_s`, or UNAVAILABLE when the
        connection breaks. Raises at once UNAVAILABLE when there is no connection, OVERLOADED when too many requests are
        outstanding or unsent bytes are at the limit, TOO_LARGE for a body over the frame limit, DEADLINE_EXCEEDED when
        no time is left.
        """

    def ask(self, method: str, body: Any, timeout_s: float, answered: Answered) -> None:
        """As `call`, without a future: `answered` is called where the answer stands in the stream, before what follows
        it, and never within this call. What raises at once is raised and not told.
        """

    def note(self, topic: str, body: Any) -> bool:
        """Send a one-way message; False when there is no connection or its unsent bytes are at the limit.

        Raises FlowError TOO_LARGE for a body over the frame limit.
        """

    async def close(self) -> None:
        """Fail what is outstanding, hang up and dial no more. Safe to call twice."""
