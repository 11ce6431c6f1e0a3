"""What travels on an authenticated link: length-prefixed frames, each a small msgpack array.

The streams of this package read and write these. A frame is four bytes of big-endian length and then an array whose
first element says its kind; a body is embedded msgpack and passes through undecoded. Bodies keep the frame's own bytes
alive, never more. Nothing here does I/O.
"""

import struct
from collections.abc import Iterator
from typing import Annotated, Final, TypedDict

import msgspec

HEADER: Final = struct.Struct(">I")

REQUEST: Final = 1
REPLY: Final = 2
ERROR: Final = 3
NOTE: Final = 4
PUSH: Final = 5
PING: Final = 6
PONG: Final = 7

_Id = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
_Milliseconds = Annotated[int, msgspec.Meta(ge=1, lt=2**32)]


class ProtocolViolation(Exception):
    """The far side sent what no peer of this protocol sends; the link is over. The text names no content."""


class RequestFrame(msgspec.Struct, array_like=True, tag=REQUEST):
    id: _Id
    timeout_ms: _Milliseconds
    method: str
    body: msgspec.Raw


class ReplyFrame(msgspec.Struct, array_like=True, tag=REPLY):
    id: _Id
    body: msgspec.Raw


class ErrorBody(TypedDict, total=False):
    """A FlowError's `to_wire`."""

    code: str
    message: str
    retryable: bool
    retryAfterMs: int
    fields: list[str]


class ErrorFrame(msgspec.Struct, array_like=True, tag=ERROR):
    id: _Id
    error: ErrorBody


class NoteFrame(msgspec.Struct, array_like=True, tag=NOTE):
    topic: str
    body: msgspec.Raw


class PushFrame(msgspec.Struct, array_like=True, tag=PUSH):
    topic: str
    body: msgspec.Raw


class PingFrame(msgspec.Struct, array_like=True, tag=PING):
    token: _Id


class PongFrame(msgspec.Struct, array_like=True, tag=PONG):
    token: _Id


ToServer = RequestFrame | NoteFrame | PingFrame
ToClient = ReplyFrame | PushFrame | ErrorFrame | PongFrame

_to_server: Final = msgspec.msgpack.Decoder(ToServer)
_to_client: Final = msgspec.msgpack.Decoder(ToClient)


def decode_to_server(payload: bytes) -> ToServer:
    """Raises ProtocolViolation."""
    try:
        frame: ToServer = _to_server.decode(payload)
    except (ValueError, RecursionError):
        raise ProtocolViolation("a malformed frame") from None
    return frame


def decode_to_client(payload: bytes) -> ToClient:
    """Raises ProtocolViolation."""
    try:
        frame: ToClient = _to_client.decode(payload)
    except (ValueError, RecursionError):
        raise ProtocolViolation("a malformed frame") from None
    return frame


class FrameReader:
    """Cuts a byte stream into frames. Holds at most one unfinished frame; an oversized one is refused by its header."""

    def __init__(self, max_frame_bytes: int) -> None:
        self.max_frame_bytes = max_frame_bytes
        """May be raised between two frames, even of one `feed`."""
        self._pending = bytearray()
        self._needed = 0

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The payloads that `data` completes. Raises ProtocolViolation at a header over the limit."""
        if self._pending:
            self._pending += data
            if len(self._pending) < self._needed:
                return
            data = bytes(self._pending)
            self._pending.clear()
        start, end = 0, len(data)
        self._needed = HEADER.size
        while end - start >= HEADER.size:
            (size,) = HEADER.unpack_from(data, start)
            if size > self.max_frame_bytes:
                raise ProtocolViolation(f"a frame of more than {self.max_frame_bytes} bytes")
            stop = start + HEADER.size + size
            if stop > end:
                self._needed = stop - start
                break
            yield data[start + HEADER.size : stop]
            start = stop
            self._needed = HEADER.size
        if start < end:
            self._pending += data[start:]
