"""The dialing end of a link that keeps itself alive.

Edges and hosts hold one for each host they talk to (see `pool.py`). It dials the address its provider names at that
moment, proves and demands proof of the secret, dials again with jittered back-off whenever the connection breaks, and
keeps `port.py`'s contract. It never sends a request twice.
"""

import asyncio
import logging
import random as random_module
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Final

import msgspec

from cluster.kernel.attempt import attempt
from cluster.kernel.clock import Clock, SystemClock
from cluster.kernel.errors import UNAVAILABLE, FlowError
from cluster.kernel.tasks import TaskOwner
from cluster.link.connection import ClientConnection, LinkCounters
from cluster.link.handshake import DialerHandshake, Identity, check_secret
from cluster.link.port import Answered, LinkLimits, LinkListener

_log = logging.getLogger("flow.link")

FIRST_DELAY_S: Final = 0.05
LONGEST_DELAY_S: Final = 1.0

Address = tuple[str, int]


def back_off_s(failures: int, random: random_module.Random) -> float:
    """How long to wait after that many failures in a row: twice as long each time, up to a second, with jitter."""
    longest: float = min(LONGEST_DELAY_S, FIRST_DELAY_S * 2 ** min(failures, 10))
    return longest * random.uniform(0.5, 1.0)


@dataclass(slots=True)
class LinkStatistics(LinkCounters):
    """The counters, and what is held now."""

    is_connected: bool = False
    outstanding: int = 0
    unsent_bytes: int = 0
    last_failure: str = ""


class ReconnectingLink:
    """A `LinkClient`. `start` it on a running loop; `address` answers None while the place is not known."""

    def __init__(
        self,
        *,
        secret: bytes,
        name: str,
        incarnation: str,
        address: Callable[[], Address | None],
        listener: LinkListener,
        expected_peer: str | None = None,
        limits: LinkLimits | None = None,
        clock: Clock | None = None,
        random: random_module.Random | None = None,
    ) -> None:
        self._secret = check_secret(secret)
        self._own = Identity(name, incarnation)
        self._address = address
        self._expected_peer = expected_peer
        self._listener = listener
        self._limits = limits or LinkLimits()
        self._clock = clock or SystemClock()
        self._random = random or random_module.Random()  # noqa: S311 - jitter, not a secret
        self._tasks = TaskOwner(f"link {name} to {expected_peer or 'any'}", limit=1)
        self._counters = LinkCounters()
        self._connection: ClientConnection | None = None
        self._hurry = asyncio.Event()
        self._closed = False
        self._last_failure = ""

    def start(self) -> None:
        """Begin to dial. Once."""
        _ = self._tasks.start("dial", self._keep_connected())

    @property
    def is_connected(self) -> bool:
        return self._connection is not None and self._connection.is_ready

    @property
    def peer_incarnation(self) -> str | None:
        """The proven incarnation of the process at the far side; None while not connected."""
        connection = self._connection
        return connection.peer.incarnation if connection is not None and connection.peer is not None else None

    def call(self, method: str, body: Any, timeout_s: float) -> asyncio.Future[msgspec.Raw]:
        if self._connection is None:
            raise FlowError(UNAVAILABLE)
        return self._connection.call(method, body, timeout_s)

    def ask(self, method: str, body: Any, timeout_s: float, answered: Answered) -> None:
        if self._connection is None:
            raise FlowError(UNAVAILABLE)
        _ = self._connection.ask(method, body, timeout_s, answered)

    def note(self, topic: str, body: Any) -> bool:
        if self._connection is None:
            self._counters.notes_dropped += 1
            return False
        return self._connection.note(topic, body)

    def redial(self, reason: str) -> None:
        """Drop what connection there is and dial the provider's present address at once."""
        self._hurry.set()
        if self._connection is not None:
            self._connection.break_off(reason)

    async def close(self) -> None:
        self._closed = True
        connection = self._connection
        if connection is not None:
            connection.break_off("the link was closed", politely=True)
        await self._tasks.stop()
        if connection is not None:
            await connection.wait_gone()

    def statistics(self) -> LinkStatistics:
        connection = self._connection
        return LinkStatistics(
            **asdict(self._counters),
            is_connected=self.is_connected,
            outstanding=connection.outstanding if connection is not None else 0,
            unsent_bytes=connection.unsent_bytes if connection is not None else 0,
            last_failure=self._last_failure,
        )

    async def _keep_connected(self) -> None:
        failures = 0
        while not self._closed:
            self._hurry.clear()
            lived_s = await self._connect_once()
            failures = 0 if lived_s >= LONGEST_DELAY_S else failures + 1
            await self._pause(failures)

    async def _pause(self, failures: int) -> None:
        """Wait before the next dial, or until someone is in a hurry."""
        try:
            async with asyncio.timeout(back_off_s(failures, self._random)):
                await self._hurry.wait()
        except TimeoutError:
            return

    async def _connect_once(self) -> float:
        """Dial, and stay until the connection ends. Returns how long it was ready, in seconds."""
        address = self._address()
        if address is None:
            self._last_failure = "the address is not known"
            return 0.0
        self._counters.dials += 1
        try:
            async with asyncio.timeout(self._limits.handshake_timeout_s):
                connection = await self._dial(address)
                ready_at = self._clock.monotonic()
        except (OSError, _NotReadyError) as error:
            self._counters.dials_failed += 1
            text = str(error) or "the handshake took too long"
            if text != self._last_failure:
                self._last_failure = text
                _log.warning("link to %s at %s:%d: %s", self._expected_peer or "a host", *address, text)
            return 0.0
        self._last_failure = await connection.ended
        return self._clock.monotonic() - ready_at

    async def _dial(self, address: Address) -> ClientConnection:
        """A connection that is ready, or raises OSError or _NotReadyError and leaves none."""
        handshake = DialerHandshake(self._secret, self._own, self._expected_peer)
        owner = _Dial(self)
        connection = ClientConnection(handshake, owner, self._limits, self._clock, self._counters)
        try:
            await asyncio.get_running_loop().create_connection(lambda: connection, *address)
            refusal = await owner.ready
            if refusal is not None:
                raise _NotReadyError(refusal)
        except BaseException:
            connection.break_off("the dial was given up")
            raise
        return connection

    def adopt(self, connection: ClientConnection) -> None:
        """For `_Dial`: the connection is ready."""
        self._connection = connection
        self._counters.connections += 1
        self._last_failure = ""
        _ = attempt("connected", self._listener.connected)

    def pushed(self, topic: str, body: msgspec.Raw) -> None:
        """For `_Dial`."""
        _ = attempt("pushed", self._listener.pushed, topic, body)

    def abandon(self, connection: ClientConnection, reason: str) -> None:
        """For `_Dial`: the connection is over."""
        if self._connection is connection:
            self._connection = None
            _ = attempt("disconnected", self._listener.disconnected, reason)


class _NotReadyError(Exception):
    """The connection broke before its handshake was done."""


class _Dial:
    """Hears one connection's life on behalf of its link."""

    def __init__(self, link: ReconnectingLink) -> None:
        self._link = link
        self.ready: asyncio.Future[str | None] = asyncio.get_running_loop().create_future()
        """None once the connection is ready, otherwise why it never was."""

    def connection_ready(self, connection: ClientConnection) -> None:
        if not self.ready.done():
            self.ready.set_result(None)
            self._link.adopt(connection)

    def connection_pushed(self, topic: str, body: msgspec.Raw) -> None:
        self._link.pushed(topic, body)

    def connection_broken(self, connection: ClientConnection, reason: str) -> None:
        if not self.ready.done():
            self.ready.set_result(reason)
        self._link.abandon(connection, reason)
