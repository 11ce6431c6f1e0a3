"""One TCP connection that carries frames: both ends of a link are built on it.

It owns the transport, the outgoing batch and the reader. It promises that frames leave in the order of `send`, that
those of one loop turn leave in one write, that unsent bytes can be read at any moment, that one turn receives no more
frames than its user asked for, and that `_lost` is called once, after which nothing is received. It never waits and
never decides what a frame means.
"""

import asyncio
import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any, Final, cast

import msgspec

from cluster.kernel.clock import Clock
from cluster.kernel.errors import TOO_LARGE, FlowError
from cluster.link.frames import HEADER, FrameReader, ProtocolViolation
from cluster.link.handshake import MAX_HANDSHAKE_FRAME_BYTES, HandshakeFailed

_FLUSH_BYTES: Final = 256 * 1024
"""A turn that writes more than this does not wait for its end."""

_CLOSE_GRACE_S: Final = 1.0
"""How long a peer may take to read the last bytes of a link that is being closed."""

_encode = msgspec.msgpack.Encoder().encode


class FrameStream(asyncio.Protocol, ABC):
    """Until `_authenticated` is called, frames are held to the handshake's size."""

    def __init__(self, max_frame_bytes: int, clock: Clock, *, frames_a_turn: int | None = None) -> None:
        """`frames_a_turn`: after so many received at once the loop turns, and meanwhile no more are read. A frame may
        count as several (`_weigh`)."""
        self._max_frame_bytes = max_frame_bytes
        self._frames_a_turn = math.inf if frames_a_turn is None else frames_a_turn
        self._taken = 0
        self._clock = clock
        self._reader = FrameReader(min(MAX_HANDSHAKE_FRAME_BYTES, max_frame_bytes))
        self._transport: asyncio.Transport | None = None
        self._loop = asyncio.get_running_loop()
        self._batch: list[bytes] = []
        self._batch_bytes = 0
        self._reason: str | None = None
        self._close_timer: asyncio.TimerHandle | None = None
        self._gone = asyncio.Event()
        self.last_heard = clock.monotonic()

    @abstractmethod
    def _opened(self) -> None:
        """The connection is there."""

    @abstractmethod
    def _received(self, payload: bytes) -> None:
        """One frame. Raises ProtocolViolation or HandshakeFailed to end the connection at once."""

    @abstractmethod
    def _lost(self, reason: str) -> None:
        """The connection is gone."""

    def _violated(self, error: Exception) -> None:
        """The far side broke the protocol; the connection is about to be cut. For counting."""

    @property
    def is_open(self) -> bool:
        return self._transport is not None and self._reason is None

    @property
    def unsent_bytes(self) -> int:
        """Bytes that were sent here and have not reached the kernel."""
        held = self._transport.get_write_buffer_size() if self._transport is not None else 0
        return self._batch_bytes + held

    def send(self, frame: Any) -> None:
        """Put one frame on the stream; nothing happens when it is closed. Raises FlowError TOO_LARGE, and TypeError
        for what msgpack cannot hold; the stream is as it was then."""
        if self._transport is None or self._reason is not None:
            return
        payload = _encode(frame)
        size = len(payload)
        if size > self._max_frame_bytes:
            raise FlowError(TOO_LARGE, f"A frame of the link may have {self._max_frame_bytes} bytes.")
        batch = self._batch
        if not batch:
            self._loop.call_soon(self._flush)
        batch.append(HEADER.pack(size))
        batch.append(payload)
        self._batch_bytes += size + HEADER.size
        if self._batch_bytes >= _FLUSH_BYTES:
            self._flush()

    def _flush(self) -> None:
        batch = self._batch
        if batch and self._transport is not None:
            self._transport.write(b"".join(batch))
            batch.clear()
            self._batch_bytes = 0

    def close(self, reason: str) -> None:
        """End the connection after what was sent; a peer that does not read it in a second loses it."""
        if self._transport is None or self._reason is not None:
            return
        self._flush()
        self._reason = reason
        self._transport.close()
        self._close_timer = self._loop.call_later(_CLOSE_GRACE_S, self._transport.abort)

    def abort(self, reason: str) -> None:
        """End the connection now and drop what was not sent."""
        if self._transport is None:
            return
        if self._reason is None:
            self._reason = reason
        self._batch.clear()
        self._batch_bytes = 0
        self._transport.abort()

    async def wait_gone(self) -> None:
        """Until the transport of a closed or aborted stream is gone; a second at most."""
        if self._transport is not None:
            await self._gone.wait()

    def _authenticated(self) -> None:
        self._reader.max_frame_bytes = self._max_frame_bytes

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are not subclasses of asyncio's.
        self._transport = cast("asyncio.Transport", transport)
        self._opened()

    def data_received(self, data: bytes) -> None:
        self.last_heard = self._clock.monotonic()
        self._take(self._reader.feed(data))

    def _take(self, payloads: Iterator[bytes]) -> None:
        self._taken = 0
        try:
            for payload in payloads:
                if self._reason is not None:
                    return
                self._taken += 1
                self._received(payload)
                if self._taken >= self._frames_a_turn and self._transport is not None:
                    self._transport.pause_reading()
                    self._loop.call_soon(self._go_on, payloads)
                    break
        except (ProtocolViolation, HandshakeFailed) as error:
            self._violated(error)
            self.abort(str(error))
        # What was answered at once leaves at once.
        self._flush()

    def _weigh(self, frames: int) -> None:
        """The frame that is being received counts as so many more."""
        self._taken += frames

    def _go_on(self, payloads: Iterator[bytes]) -> None:
        if self._transport is not None and self._reason is None:
            self._transport.resume_reading()
            self._take(payloads)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._close_timer is not None:
            self._close_timer.cancel()
        if self._reason is None:
            self._reason = "the connection was reset" if exc is not None else "the peer closed the connection"
        self._transport = None
        self._gone.set()
        self._batch.clear()
        self._batch_bytes = 0
        self._lost(self._reason)
