"""Reads websocket frames (RFC 6455, server side, no extensions) out of a byte stream.

Pure: bytes in, messages out. Bounded: a message over the limit is refused by its header, before its bytes are kept, and
a stream that arrives byte by byte costs the same in total as one that arrives at once.
"""

import struct
from collections.abc import Iterator
from typing import Final, NamedTuple

from aiohttp._websocket.helpers import websocket_mask

PROTOCOL_ERROR: Final = 1002
INVALID_TEXT: Final = 1007
TOO_BIG: Final = 1009

_CONTINUATION: Final = 0
_TEXT: Final = 1
_BINARY: Final = 2
_CLOSE: Final = 8
_PING: Final = 9
_PONG: Final = 10
_SENDABLE_CLOSE_CODES: Final = frozenset({1000, 1001, 1002, 1003, *range(1007, 1015)})

_length_16 = struct.Struct("!H").unpack_from
_length_64 = struct.Struct("!Q").unpack_from


class FrameError(Exception):
    """The stream is not what RFC 6455 allows, or more than the limit; `code` is the close code that says so."""

    def __init__(self, code: int, detail: str) -> None:
        super().__init__(detail)
        self.code = code


class Ping(NamedTuple):
    payload: bytes


class Close(NamedTuple):
    code: int
    """1005 when the client gave none."""


class Silence(NamedTuple):
    """Many frames in a row said nothing: pongs, or pieces of a message. Given so that the reader's user can pause."""


Message = str | bytes | Ping | Close | Silence

_SILENT_FRAMES: Final = 64


class FrameReader:
    """One connection's reader. After it has raised, it must not be fed again."""

    __slots__ = ("_buffer", "_fragments", "_max_bytes", "_needed", "_opcode")

    def __init__(self, max_message_bytes: int) -> None:
        self._max_bytes = max_message_bytes
        self._buffer: bytearray | None = None
        self._needed = 0
        self._fragments: bytearray | None = None
        self._opcode = 0

    def feed(self, data: bytes) -> Iterator[Message]:
        """The messages that `data` completes, in order; pongs are dropped. Raises FrameError."""
        if self._buffer is not None:
            self._buffer += data
            if len(self._buffer) < self._needed:
                return
            data = bytes(self._buffer)
            self._buffer = None
        position, size, silent = 0, len(data), 0
        while position < size:
            header, length = self._header(data, position, size)
            end = position + header + length
            if header == 0 or end > size:
                self._buffer = bytearray(data[position:])
                self._needed = end - position if header else length
                return
            start = position + header
            payload = bytearray(data[start:end])
            websocket_mask(data[start - 4 : start], payload)
            message = self._message(data[position], payload)
            position = end
            if message is not None:
                yield message
            elif (silent := silent + 1) % _SILENT_FRAMES == 0:
                yield Silence()

    def _header(self, data: bytes, position: int, size: int) -> tuple[int, int]:
        """Bytes of the header, mask included, and of the payload; (0, bytes needed to tell) when there are too few."""
        if size - position < 2:
            return 0, 2
        first, second = data[position], data[position + 1]
        if first & 0x70 or not second & 0x80:
            raise FrameError(PROTOCOL_ERROR, "reserved bits, or a frame without a mask")
        opcode, length, header = first & 0x0F, second & 0x7F, 6
        if opcode >= _CLOSE and (length > 125 or not first & 0x80):
            raise FrameError(PROTOCOL_ERROR, "a control frame in pieces or too long")
        if length >= 126:
            header = 8 if length == 126 else 14
            if size - position < header:
                return 0, header
            length = (_length_16 if length == 126 else _length_64)(data, position + 2)[0]
        if opcode < _CLOSE and length + len(self._fragments or b"") > self._max_bytes:
            raise FrameError(TOO_BIG, "a message over the limit")
        return header, length

    def _message(self, first: int, payload: bytearray) -> Message | None:
        opcode = first & 0x0F
        if opcode in (_TEXT, _BINARY):
            if self._fragments is not None:
                raise FrameError(PROTOCOL_ERROR, "a new message inside another")
            if first & 0x80:
                return _decode(opcode, payload)
            self._opcode, self._fragments = opcode, payload
            return None
        if opcode == _CONTINUATION:
            if self._fragments is None:
                raise FrameError(PROTOCOL_ERROR, "a continuation of nothing")
            self._fragments += payload
            if not first & 0x80:
                return None
            whole, self._fragments = self._fragments, None
            return _decode(self._opcode, whole)
        return _control(opcode, bytes(payload))


def _decode(opcode: int, payload: bytearray) -> str | bytes:
    if opcode == _BINARY:
        return bytes(payload)
    try:
        return payload.decode()
    except UnicodeDecodeError as error:
        raise FrameError(INVALID_TEXT, "text that is not UTF-8") from error


def _control(opcode: int, payload: bytes) -> Message | None:
    if opcode == _PING:
        return Ping(payload)
    if opcode == _PONG:
        return None
    if opcode != _CLOSE:
        raise FrameError(PROTOCOL_ERROR, "an unknown kind of frame")
    if not payload:
        return Close(1005)
    code = int.from_bytes(payload[:2], "big")
    if len(payload) == 1 or not (code in _SENDABLE_CLOSE_CODES or 3000 <= code <= 4999):
        raise FrameError(PROTOCOL_ERROR, "a close frame with a code that may not be sent")
    try:
        payload[2:].decode()
    except UnicodeDecodeError as error:
        raise FrameError(INVALID_TEXT, "a close reason that is not UTF-8") from error
    return Close(code)
