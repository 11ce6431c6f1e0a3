"""Who may come in and how fast they may ask: token buckets and counters of sockets, on a clock that is given.

The namespaces ask before they do anything. Pure: it knows neither sockets nor tasks, only ids. It promises that a
refusal says when to come back, and that what it remembers is bounded: a socket's buckets go with the socket, and an
address that has been quiet long enough to have its whole burst back is forgotten.
"""

from collections import Counter
from dataclasses import dataclass

from cluster.kernel.clock import Clock
from cluster.kernel.errors import OVERLOADED, RATE_LIMITED, FlowError
from realtime.addresses import address_block
from realtime.limits import EdgeLimits, Rate

_MAX_ADDRESSES = 65_536
_FULL_RETRY_MS = 5_000


class TokenBucket:
    """One bucket, as the generic cell rate algorithm: one number, the time at which it is full again."""

    __slots__ = ("_full_at", "_interval", "_window")

    def __init__(self, rate: Rate) -> None:
        self._interval = 1.0 / rate.per_second
        self._window = rate.burst * self._interval
        self._full_at = float("-inf")

    def take(self, now: float) -> float:
        """0.0 when a token was taken, else the seconds until there is one; nothing is taken then."""
        full_at = max(self._full_at, now) + self._interval
        wait = full_at - self._window - now
        if wait > 1e-9:
            return wait
        self._full_at = full_at
        return 0.0

    def is_full(self, now: float) -> bool:
        return self._full_at <= now


class SocketBuckets:
    """The buckets of one socket: one for everything it asks and one for each kind of event it has used."""

    __slots__ = ("_all", "_by_event", "_limits")

    def __init__(self, limits: EdgeLimits) -> None:
        self._limits = limits
        self._all: TokenBucket | None = None
        self._by_event: dict[str, TokenBucket] = {}

    def take(self, event: str, now: float) -> None:
        """Count one request; `event` must be a name that exists. Raises FlowError RATE_LIMITED."""
        bucket = self._by_event.get(event)
        if bucket is None:
            bucket = self._by_event[event] = TokenBucket(self._limits.rate_of(event))
        if self._all is None:  # not before it is needed: most sockets only listen
            self._all = TokenBucket(self._limits.requests_per_socket)
        wait = bucket.take(now) or self._all.take(now)
        if wait:
            raise FlowError(RATE_LIMITED, retry_after_ms=max(1, round(wait * 1000)))


@dataclass(slots=True)
class _Socket:
    user_id: str
    address: str


class Admission:
    """Counts the sockets of this edge by person and by address; an IPv6 address counts with its whole /64."""

    def __init__(self, limits: EdgeLimits, clock: Clock) -> None:
        self._limits = limits
        self._clock = clock
        self._sockets: dict[str, _Socket] = {}
        self._by_user: dict[str, int] = {}  # no Counter: what it does not know it asks a method of Python's for
        self._by_address: dict[str, int] = {}
        self._arrivals: dict[str, TokenBucket] = {}
        self._refused: Counter[str] = Counter()

    def buckets(self) -> SocketBuckets:
        return SocketBuckets(self._limits)

    def arrive(self, address: str) -> None:
        """A socket comes to its first namespace, before its token is looked at. Raises FlowError RATE_LIMITED."""
        now = self._clock.monotonic()
        address = address_block(address)
        bucket = self._arrivals.get(address)
        if bucket is None:
            bucket = self._remember(address, now)
        wait = bucket.take(now)
        if wait:
            self._refused["arrivals"] += 1
            raise FlowError(RATE_LIMITED, retry_after_ms=max(1, round(wait * 1000)))

    def _remember(self, address: str, now: float) -> TokenBucket:
        if len(self._arrivals) >= _MAX_ADDRESSES:
            self._arrivals = {known: bucket for known, bucket in self._arrivals.items() if not bucket.is_full(now)}
            if len(self._arrivals) >= _MAX_ADDRESSES:
                self._arrivals.pop(next(iter(self._arrivals)))
        bucket = self._arrivals[address] = TokenBucket(self._limits.connections_per_address)
        return bucket

    def admit(self, socket_id: str, user_id: str, address: str) -> None:
        """Count a socket in. Raises FlowError OVERLOADED when the edge is full, RATE_LIMITED when its person or its
        address has too many."""
        address = address_block(address)
        if len(self._sockets) >= self._limits.max_sockets:
            self._refused["edge"] += 1
            raise FlowError(OVERLOADED, "This edge holds as many connections as it can.", retry_after_ms=_FULL_RETRY_MS)
        if self._by_user.get(user_id, 0) >= self._limits.max_sockets_per_user:
            self._refused["user"] += 1
            raise FlowError(RATE_LIMITED, "You have too many connections.", retry_after_ms=_FULL_RETRY_MS)
        if self._by_address.get(address, 0) >= self._limits.max_sockets_per_address:
            self._refused["address"] += 1
            raise FlowError(RATE_LIMITED, "Your address has too many connections.", retry_after_ms=_FULL_RETRY_MS)
        self._sockets[socket_id] = _Socket(user_id, address)
        self._by_user[user_id] = self._by_user.get(user_id, 0) + 1
        self._by_address[address] = self._by_address.get(address, 0) + 1

    def release(self, socket_id: str) -> None:
        """Count a socket out; one that was never admitted is ignored."""
        socket = self._sockets.pop(socket_id, None)
        if socket is None:
            return
        for counter, name in ((self._by_user, socket.user_id), (self._by_address, socket.address)):
            counter[name] -= 1
            if counter[name] <= 0:
                del counter[name]

    @property
    def people(self) -> int:
        """How many different people have a socket here."""
        return len(self._by_user)

    def statistics(self) -> dict[str, float]:
        counts: dict[str, float] = {
            "admitted_sockets": len(self._sockets),
            "people": len(self._by_user),
            "addresses": len(self._by_address),
        }
        counts |= {f"refused_{reason}": count for reason, count in self._refused.items()}
        return counts
