"""Websockets that landed on the wrong edge: their bytes go to the right one and back, unread.

The forwarder makes them. A splice is two connections that write what the other reads; when one cannot be written the
other is not read, so it holds no more than the two write buffers. It promises a bound on their number, that nothing but
one websocket passes through each, and that both ends go together.
"""

import asyncio
from typing import Final, cast

from aiohttp import web

from realtime.engine.handover import HandedOver, take_over

_MAX_SPLICES: Final = 1_000
_SWITCHED: Final = b"HTTP/1.1 101 "


class _End(asyncio.Protocol):
    """One end: what comes in here goes out at the other."""

    def __init__(self, splices: "Splices") -> None:
        self.other: _End
        self.transport: asyncio.Transport | None = None
        self._splices = splices

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass

    def attach(self, transport: asyncio.Transport, head: bytes) -> None:
        self.transport = transport
        transport.set_protocol(self)
        transport.resume_reading()

    def data_received(self, data: bytes) -> None:
        self.other.write(data)

    def write(self, data: bytes) -> None:
        if self.transport is not None:
            self.transport.write(data)

    def close(self) -> None:
        if self.transport is not None:
            self.transport.close()

    def pause_writing(self) -> None:
        if self.other.transport is not None:
            self.other.transport.pause_reading()

    def resume_writing(self) -> None:
        if self.other.transport is not None and not self.other.transport.is_closing():
            self.other.transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport = None
        self.other.close()
        self._splices.lost(self, self.other)


class _FarEnd(_End):
    """The end at the right edge. What is not the answer to an upgrade is passed on and ends the splice."""

    _has_switched = False

    def data_received(self, data: bytes) -> None:
        self.other.write(data)
        if not self._has_switched:
            self._has_switched = data.startswith(_SWITCHED)
            if not self._has_switched:
                self.close()


class Splices:
    """All splices of one edge."""

    def __init__(self) -> None:
        self._near: set[_End] = set()
        self._made = 0

    async def join(
        self, request: web.Request, address: str, head: bytes, timeout_s: float
    ) -> web.StreamResponse | None:
        """Send `head`, the request as the right edge shall read it, to `address`, and splice what follows. The result
        must be returned at once. None when there are too many or the client has gone.

        Raises OSError or TimeoutError when the right edge cannot be reached.
        """
        if len(self._near) >= _MAX_SPLICES:
            return None
        near, far = _End(self), _FarEnd(self)
        near.other, far.other = far, near
        self._near.add(near)
        host, _, port = address.rpartition(":")
        try:
            async with asyncio.timeout(timeout_s):
                _ = await asyncio.get_running_loop().create_connection(lambda: far, host, int(port))
        except BaseException:
            self._near.discard(near)
            raise
        if request.transport is None:
            far.close()
            return None
        self._made += 1
        far.write(head + take_over(request, near, b""))
        return HandedOver(status=101)

    def lost(self, *ends: _End) -> None:
        self._near.difference_update(ends)

    async def leave(self, spread_s: float) -> None:
        """Close them all, evenly over `spread_s` seconds: this edge drains."""
        near = list(self._near)
        for end in near:
            end.close()
            await asyncio.sleep(spread_s / len(near))

    def cut(self) -> None:
        for end in tuple(self._near):
            for half in (end, end.other):
                if half.transport is not None:
                    half.transport.abort()

    def statistics(self) -> dict[str, float]:
        return {"websockets_spliced": len(self._near), "websockets_spliced_ever": self._made}
