"""The listening end of links: accepts, authenticates and serves the peers of one process.

A host makes one. It promises `port.py`'s contract towards its `LinkService` and bounds everything a peer or a stranger
can make it hold: connections, handshakes (in number, size and time), frame sizes, unsent bytes. Peers that say nothing
for the ping timeout are cut. It never dials.
"""

import asyncio
import errno
from dataclasses import asdict, dataclass

from cluster.kernel.attempt import attempt
from cluster.kernel.clock import Clock, SystemClock
from cluster.kernel.errors import PORT_IN_USE, FlowError
from cluster.link.handshake import Identity, check_secret
from cluster.link.peer import ServerContext, ServerCounters, ServerPeer
from cluster.link.port import LinkLimits, LinkService


@dataclass(slots=True)
class LinkServerStatistics(ServerCounters):
    """The counters, and what is held now."""

    peers: int = 0
    pending_handshakes: int = 0
    unsent_bytes: int = 0


class LinkServer:
    """Serves `service` to whoever holds `secret`. `name` and `incarnation` are this process's own."""

    def __init__(
        self,
        *,
        secret: bytes,
        name: str,
        incarnation: str,
        service: LinkService,
        limits: LinkLimits | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._service = service
        self._limits = limits or LinkLimits()
        self._clock = clock or SystemClock()
        own = Identity(name, incarnation)
        self._context = ServerContext(check_secret(secret), own, service, self._limits, self._clock, self)
        self._counters = self._context.counters
        self._pending: set[ServerPeer] = set()
        self._peers: set[ServerPeer] = set()
        self._server: asyncio.Server | None = None
        self._stopping = False
        self._tick_timer: asyncio.TimerHandle | None = None
        self._last_tick = 0.0
        self._empty = asyncio.Event()
        self._empty.set()

    async def start(self, host: str, port: int = 0) -> tuple[str, int]:
        """Listen; port 0 picks a free one. Returns where. Raises FlowError PORT_IN_USE, or OSError for a host that
        is not this machine's."""
        loop = asyncio.get_running_loop()
        try:
            self._server = await loop.create_server(lambda: ServerPeer(self._context), host, port)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise FlowError(PORT_IN_USE, f"Another process listens on {host}:{port}.") from error
            raise
        self._tick()
        bound = self._server.sockets[0].getsockname()
        return bound[0], bound[1]

    async def stop(self) -> None:
        """Accept nothing more, send what was sent, hang up and wait until each peer is gone. Safe to call twice."""
        self._stopping = True
        if self._server is not None:
            self._server.close()
        if self._tick_timer is not None:
            self._tick_timer.cancel()
        for peer in [*self._pending, *self._peers]:
            peer.close("the server is stopping")
        await self._empty.wait()

    def statistics(self) -> LinkServerStatistics:
        return LinkServerStatistics(
            **asdict(self._counters),
            peers=len(self._peers),
            pending_handshakes=len(self._pending),
            unsent_bytes=sum(peer.unsent_bytes for peer in self._peers),
        )

    def admit(self, peer: ServerPeer) -> bool:
        full = len(self._pending) + len(self._peers) >= self._limits.max_connections
        self._pending.add(peer)
        self._empty.clear()
        if full or len(self._pending) > self._limits.max_pending_handshakes or self._stopping:
            self._counters.connections_refused += 1
            return False
        self._counters.connections_accepted += 1
        return True

    def authenticated(self, peer: ServerPeer) -> None:
        self._pending.discard(peer)
        self._peers.add(peer)
        if attempt("peer_connected", self._service.peer_connected, peer) is not None:
            self._counters.service_failures += 1

    def gone(self, peer: ServerPeer) -> None:
        self._pending.discard(peer)
        was_served = peer in self._peers
        self._peers.discard(peer)
        if was_served and attempt("peer_lost", self._service.peer_lost, peer) is not None:
            self._counters.service_failures += 1
        if not self._peers and not self._pending:
            self._empty.set()

    def _tick(self) -> None:
        interval = self._limits.ping_interval_s
        now = self._clock.monotonic()
        stalled = now - self._last_tick > 2 * interval
        self._last_tick = now
        for peer in list(self._peers):
            if stalled:
                # This process itself stood still; what peers said meanwhile may wait unread.
                peer.last_heard = now
            else:
                peer.check_silence(now)
        self._tick_timer = asyncio.get_running_loop().call_later(interval, self._tick)
