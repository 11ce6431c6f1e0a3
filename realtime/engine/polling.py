"""The long-polling transport: what waits for the client's next GET, and what its POSTs bring.

Owned by a session from its handshake until it ends or is upgraded. The outbox is bounded in bytes. One GET and one POST
may be open at a time; the endpoint refuses a second one and ends the session.

HTTP may repeat a GET unasked: libraries, browsers and proxies do when a connection breaks before its answer has begun,
as when an edge in between is killed. So that no answer is skipped, an answer is kept until the next GET shows that it
arrived, and a repeated GET is answered as it was. Clients mark their requests: `poll_mark`.
"""

import asyncio
import base64
import binascii
from collections.abc import Iterator, Mapping
from typing import Final

from realtime.engine.packets import ProtocolViolation
from realtime.engine.runtime import Runtime
from realtime.engine.transport import Transport, TransportListener
from realtime.engine.wire import CLOSE_PACKET, NOOP_PACKET, SEPARATOR, Wire

_MARK: Final = "t"
_MAX_MARK_CHARACTERS: Final = 64
_MAX_REPEATS: Final = 8


def poll_mark(query: Mapping[str, str]) -> str:
    """What a client calls one request, against caches: another at each, unless HTTP repeats it. "" when it does not."""
    mark = query.get(_MARK, "")
    return mark if len(mark) <= _MAX_MARK_CHARACTERS else ""


class PollingTransport:
    """One session's polling side."""

    __slots__ = (
        "_answer",
        "_closing",
        "_mark",
        "_outbox",
        "_outbox_bytes",
        "_pausing",
        "_repeats",
        "_runtime",
        "_standing_mark",
        "_waiter",
        "is_posting",
        "listener",
    )

    name = "polling"

    def __init__(self, runtime: Runtime, listener: TransportListener, opening_mark: str = "") -> None:
        """A client that says the `opening_mark` again in its polls says it always: it is no mark."""
        self.listener: TransportListener | None = listener
        self.is_posting = False
        self._runtime = runtime
        self._outbox: list[Wire] = []
        self._outbox_bytes = 0
        self._standing_mark = opening_mark
        self._mark = ""
        self._answer = b""
        self._repeats = 0
        self._waiter: asyncio.Future[None] | None = None
        self._closing = False
        self._pausing = False

    @property
    def is_polled(self) -> bool:
        return self._waiter is not None

    @property
    def is_owed(self) -> bool:
        """Whether there is something to fetch."""
        return bool(self._outbox)

    def push(self, wire: Wire) -> None:
        if self._closing:
            return
        if not self._outbox and self._waiter is not None:
            self._runtime.flusher.add(self)
        self._outbox.append(wire)
        self._outbox_bytes += len(wire.payload) + len(SEPARATOR)
        over = self._outbox_bytes > self._runtime.limits.max_outbox_bytes
        if over and len(self._outbox) > 1 and self.listener is not None:
            self._clear()
            self.listener.overflowed()

    def share(self, wire: Wire) -> None:
        self.push(wire)

    def flush(self) -> None:
        if self._outbox:
            self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def takes_poll(self, mark: str) -> bool:
        """Whether a GET may come now: one at a time, unless it repeats the last one, and that not for ever."""
        return self._repeats < _MAX_REPEATS if self._is_repeat(mark) else not self.is_polled

    def _is_repeat(self, mark: str) -> bool:
        return bool(self._mark) and mark == self._mark

    async def poll(self, mark: str = "") -> bytes | None:
        """What the client is owed, as soon as there is something; when the last GET is repeated, what that was told.
        None when this one was repeated while it waited: the repeat has taken its place. Not unless it `takes_poll`.
        """
        if self._is_repeat(mark):
            self._repeats += 1
            self._runtime.counters.polls_repeated += 1
            if not self.is_polled:
                return self._answer
            self._supersede()
        else:
            self._mark = "" if mark == self._standing_mark else mark
            self._answer, self._repeats = b"", 0
        if not self._outbox and not self._closing and not self._pausing and not await self._awaited():
            return None
        body = self.take()
        if self._mark:
            self._answer = body
        return body

    async def _awaited(self) -> bool:
        """False when another GET has taken the place of this one."""
        waiter = self._waiter = self._runtime.loop.create_future()
        try:
            await waiter
        except asyncio.CancelledError:
            if self._waiter is waiter:
                self._lost("transport_close")
            raise
        finally:
            is_current = self._waiter is waiter
            if is_current:
                self._waiter = None
        return is_current

    def _supersede(self) -> None:
        self._wake()
        self._waiter = None

    def take(self) -> bytes:
        """As much as one answer may hold, a noop when there is nothing. Ends the session when all has been said."""
        wires = self._next_wires() or [NOOP_PACKET]
        counters = self._runtime.counters
        body = SEPARATOR.join(wire.payload for wire in wires)
        counters.messages_out += len(wires)
        counters.writes += 1
        counters.bytes_out += len(body)
        if self._closing and self._outbox:
            self._runtime.linger(self)
        elif self._closing:
            self._lost("transport_close")
        return body

    def _next_wires(self) -> list[Wire]:
        packets = 0
        for index, wire in enumerate(self._outbox):
            packets += wire.packets
            # A close packet goes alone: a client that sees it drops what came with it.
            if index and (wire is CLOSE_PACKET or packets > self._runtime.limits.max_packets_per_poll):
                wires = self._outbox[:index]
                del self._outbox[:index]
                self._outbox_bytes -= sum(len(wire.payload) + len(SEPARATOR) for wire in wires)
                return wires
        wires = self._outbox
        self._clear()
        return wires

    def _clear(self) -> None:
        self._outbox = []
        self._outbox_bytes = 0

    def unsent_bytes(self) -> int:
        return self._outbox_bytes + len(self._answer)

    def pause(self) -> None:
        """An upgrade is under way: end a poll that waits, and let none wait until `resume`."""
        self._pausing = True
        self._release()

    def resume(self) -> None:
        self._pausing = False

    def _release(self) -> None:
        if self._waiter is not None and not self._outbox:
            self.push(NOOP_PACKET)

    def retire(self, successor: Transport) -> None:
        """Hand what was not fetched to the transport that comes after this one."""
        wires, self.listener, self._closing = self._outbox, None, True
        self._answer = b""
        self._clear()
        self._wake()
        for wire in wires:
            if wire is not NOOP_PACKET:
                successor.push(wire)

    def close(self, code: int, reason: str, *, linger: bool = False, by_client: bool = False) -> None:
        if self._closing:
            return
        if by_client:
            self._release()
        else:
            self._outbox.append(CLOSE_PACKET)
        self._closing = True
        if self._waiter is not None:
            self._wake()
        elif linger and len(self._outbox) > 1:
            self._runtime.linger(self)
        else:
            self.abort()

    def out_of_time(self) -> None:
        """Nobody came for what was left."""
        self.abort()

    def abort(self) -> None:
        self._closing = True
        self._clear()
        self._answer = b""
        self._wake()
        self._lost("transport_close")

    def _lost(self, reason: str) -> None:
        self._runtime.depart(self)
        listener, self.listener = self.listener, None
        if listener is not None:
            listener.lost(reason)


def decode_payload(body: bytes, max_packets: int) -> Iterator[str | bytes]:
    """The packets of a POST body. Raises ProtocolViolation before the first packet when there are too many."""
    try:
        packets = body.decode().split("\x1e", max_packets)
    except UnicodeDecodeError as error:
        raise ProtocolViolation("a payload that is not UTF-8") from error
    if len(packets) > max_packets:
        raise ProtocolViolation("too many packets in one payload")
    for packet in packets:
        if not packet.startswith("b"):
            yield packet
            continue
        try:
            yield base64.b64decode(packet[1:], validate=True)
        except (binascii.Error, ValueError) as error:
            raise ProtocolViolation("a binary packet that is not base64") from error
