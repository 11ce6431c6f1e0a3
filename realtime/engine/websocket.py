"""The websocket transport: frames on a bare asyncio transport, without a task, a stream or a queue of its own.

Given its connection by `handover`, used by a session or an upgrade. Every byte that leaves goes through one queue, so
what was pushed first arrives first; what is pushed in one loop turn, or shared in one round, leaves in one write. The
outbox is the asyncio transport's own buffer, bounded here in bytes.
"""

import asyncio
from collections.abc import Iterator
from typing import Final

from realtime.engine.frame_reader import TOO_BIG, Close, FrameError, FrameReader, Message, Ping
from realtime.engine.runtime import Runtime
from realtime.engine.transport import TransportListener
from realtime.engine.wire import PONG, Wire, close_frame, frame

_FLUSH_AT_BYTES: Final = 65_536
_MESSAGES_PER_TURN: Final = 256
_NORMAL: Final = 1000
_NO_CODE: Final = 1005


class WebSocketTransport(asyncio.Protocol):
    """One websocket. `listener` may be exchanged: an upgrade hands it to the session."""

    __slots__ = (
        "_closing",
        "_held",
        "_is_due",
        "_pending",
        "_pending_bytes",
        "_reader",
        "_runtime",
        "_transport",
        "listener",
    )

    name = "websocket"

    def __init__(self, runtime: Runtime, listener: TransportListener | None) -> None:
        self.listener = listener
        self._runtime = runtime
        self._reader: FrameReader | None = FrameReader(runtime.limits.max_payload_bytes)
        self._transport: asyncio.Transport | None = None
        self._pending: list[bytes] = []
        self._pending_bytes = 0
        self._closing = False
        self._held: bytes | None = None
        self._is_due = False

    def attach(self, transport: asyncio.Transport, head: bytes) -> None:
        """Take the connection over; `head` is the HTTP answer and leaves with the first flush, before any frame."""
        self._transport = transport
        self._enqueue(head)
        transport.set_protocol(self)
        transport.resume_reading()

    def push(self, wire: Wire) -> None:
        if not self._closing:
            self._enqueue(wire.frame)

    def share(self, wire: Wire) -> None:
        if self._closing:
            return
        pending, data = self._pending, wire.frame
        if not pending:
            self._runtime.flusher.add_to_round(self)
        pending.append(data)
        self._pending_bytes += len(data)
        if self._pending_bytes >= _FLUSH_AT_BYTES:
            self.flush()

    def _enqueue(self, data: bytes) -> None:
        pending = self._pending
        if not self._is_due:
            self._is_due = True
            self._runtime.flusher.add(self)
        pending.append(data)
        self._pending_bytes += len(data)
        if self._pending_bytes >= _FLUSH_AT_BYTES:
            self.flush()

    def flush(self) -> None:
        self._is_due = False
        pending = self._pending
        transport = self._transport
        if not pending or transport is None or transport.is_closing():
            self._drop_pending()
            return
        unsent = transport.get_write_buffer_size()
        if unsent and unsent + self._pending_bytes > self._runtime.limits.max_outbox_bytes and not self._closing:
            self._drop_pending()
            if self.listener is not None:
                self.listener.overflowed()
            return
        counters = self._runtime.counters
        counters.writes += 1
        counters.messages_out += len(pending)
        counters.bytes_out += self._pending_bytes
        transport.write(pending[0] if len(pending) == 1 else b"".join(pending))
        pending.clear()  # not by a call: this line is reached for every delivery
        self._pending_bytes = 0

    def _drop_pending(self) -> None:
        self._pending.clear()
        self._pending_bytes = 0

    def unsent_bytes(self) -> int:
        return self._pending_bytes + (self._transport.get_write_buffer_size() if self._transport is not None else 0)

    def close(self, code: int, reason: str, *, linger: bool = False, by_client: bool = False) -> None:
        if self._closing or self._transport is None:
            return
        self._closing = True
        self._reader = None
        self._runtime.linger(self)
        self._enqueue(close_frame(code, reason))
        self.flush()
        # Half-closed, not closed: unread input would turn the close into a reset that overtakes the close frame.
        if by_client or not self._transport.can_write_eof():
            self._transport.close()
        elif not self._transport.is_closing():
            try:
                self._transport.write_eof()
            except OSError:
                self._transport.abort()  # the client has reset the connection; asyncio has not read that yet

    def out_of_time(self) -> None:
        """It was to close in an orderly way."""
        self.abort()

    def abort(self) -> None:
        self._closing = True
        if self._transport is not None:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        if self._reader is None:
            return
        if self._held is not None:
            self._held += data
        elif self._runtime.reading.may_serve():
            self._consume(self._reader.feed(data))
        else:
            self._held = data
            self._runtime.reading.wait(self._serve_held)
            if self._transport is not None:
                self._transport.pause_reading()

    def _serve_held(self) -> None:
        data, self._held = self._held, None
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()  # closed or not: the client's end has to be heard
        if self._reader is not None and data is not None:
            self._consume(self._reader.feed(data))

    def _consume(self, messages: Iterator[Message]) -> None:
        """Serve a bounded number of messages, then let the loop turn; meanwhile the client is not read."""
        try:
            for served, message in enumerate(messages, start=1):
                self._receive(message)
                if self._reader is None or self._transport is None:
                    return
                if served == _MESSAGES_PER_TURN:
                    self._transport.pause_reading()
                    self._runtime.loop.call_soon(self._go_on, messages)
                    return
        except FrameError as error:
            self._runtime.counters.violations += 1
            self.close(error.code, "")
            self._lost("too_large" if error.code == TOO_BIG else "protocol_error")

    def _go_on(self, messages: Iterator[Message]) -> None:
        if self._reader is not None and self._transport is not None:
            self._transport.resume_reading()
            self._consume(messages)

    def _receive(self, message: Message) -> None:
        if isinstance(message, str | bytes):
            if self.listener is not None:
                self.listener.receive(message)
        elif isinstance(message, Close):
            self.close(_NORMAL if message.code == _NO_CODE else message.code, "", by_client=True)
            self._lost("transport_close")
        elif isinstance(message, Ping):
            self._enqueue(frame(PONG, message.payload))

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._closing = True
        self._reader = None
        self._transport = None
        self._runtime.depart(self)
        self._drop_pending()
        self._lost("transport_close" if exc is None else "transport_error")

    def _lost(self, reason: str) -> None:
        listener, self.listener = self.listener, None
        if listener is not None:
            listener.lost(reason)
