"""A connection in memory: what the engine's websocket asks of an asyncio transport, and the client's end of it.

Held to the real transport by `contract_transport.py`. It never blocks and its peer takes every byte at once.
"""

import asyncio


class MemoryTransport(asyncio.Transport):
    """`feed`, `end` and `sent` are the client's side."""

    def __init__(self, loop: asyncio.AbstractEventLoop, protocol: asyncio.Protocol) -> None:
        super().__init__()
        self._loop = loop
        self._protocol = protocol
        self._unread = bytearray()
        self._is_paused = False
        self._is_closing = False
        self._is_ended = False
        self.sent = bytearray()
        self.has_eof = False

    # --- the client's side --------------------------------------------------------------------------------------------

    def feed(self, data: bytes) -> None:
        """The client sends."""
        self._unread += data
        self._read()

    def end(self) -> None:
        """The client is gone."""
        if not self._is_closing:
            self._is_closing = True
            self._loop.call_soon(self._lost)

    def _read(self) -> None:
        if self._unread and not self._is_paused and not self._is_closing:
            data = bytes(self._unread)
            self._unread.clear()
            self._protocol.data_received(data)

    # --- the engine's side --------------------------------------------------------------------------------------------

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        assert isinstance(protocol, asyncio.Protocol)
        self._protocol = protocol

    def get_protocol(self) -> asyncio.BaseProtocol:
        return self._protocol

    def is_closing(self) -> bool:
        return self._is_closing

    def pause_reading(self) -> None:
        self._is_paused = True

    def resume_reading(self) -> None:
        if self._is_paused:
            self._is_paused = False
            self._loop.call_soon(self._read)

    def is_reading(self) -> bool:
        return not self._is_paused and not self._is_closing

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if self.has_eof:
            raise RuntimeError("write after write_eof")
        if not self._is_closing:
            self.sent += data

    def get_write_buffer_size(self) -> int:
        return 0

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.has_eof = True

    def close(self) -> None:
        self.end()

    def abort(self) -> None:
        self.end()

    def _lost(self) -> None:
        if not self._is_ended:
            self._is_ended = True
            self._protocol.connection_lost(None)
