"""What goes to a socket, encoded once for both transports however many sockets it goes to.

A `Wire` is one Engine.IO message or packet: an optional text part and the binary parts that follow it. Its websocket
form is finished frames, headers included and unmasked, so the same bytes object is written to every transport; its
polling form is packets joined by the record separator, binary parts in base64, made on first use and kept.
"""

import base64
import struct
from typing import Final

TEXT: Final = 0x81
BINARY: Final = 0x82
CLOSE: Final = 0x88
PONG: Final = 0x8A

SEPARATOR: Final = b"\x1e"

_MAX_CLOSE_REASON_BYTES: Final = 123
_short = struct.Struct("!BB").pack
_medium = struct.Struct("!BBH").pack
_long = struct.Struct("!BBQ").pack


def frame(first_byte: int, payload: bytes) -> bytes:
    """One final, unmasked websocket frame."""
    length = len(payload)
    if length < 126:
        return _short(first_byte, length) + payload
    if length < 65536:
        return _medium(first_byte, 126, length) + payload
    return _long(first_byte, 127, length) + payload


def close_frame(code: int, reason: str = "") -> bytes:
    return frame(CLOSE, code.to_bytes(2, "big") + reason.encode()[:_MAX_CLOSE_REASON_BYTES])


class Wire:
    """One message, immutable. `text` includes the Engine.IO packet type; binary parts are messages by themselves."""

    __slots__ = ("_binary", "_payload", "_text", "frame")

    def __init__(self, text: bytes | None, binary: tuple[bytes, ...] = ()) -> None:
        self._text = text
        self._binary = binary
        self._payload: bytes | None = None
        head = b"" if text is None else frame(TEXT, text)
        self.frame = head + b"".join([frame(BINARY, part) for part in binary]) if binary else head
        """The websocket frames, in one piece so that no other frame can come between them."""

    @property
    def packets(self) -> int:
        """How many packets the polling form has."""
        return (self._text is not None) + len(self._binary)

    @property
    def whole(self) -> bytes:
        """The one part of a message that has only one."""
        assert self.packets == 1
        return self._binary[0] if self._text is None else self._text

    @property
    def payload(self) -> bytes:
        """The polling packets, without a separator before or after."""
        if self._payload is None:
            packets = [] if self._text is None else [self._text]
            packets.extend(b"b" + base64.b64encode(part) for part in self._binary)
            self._payload = SEPARATOR.join(packets)
        return self._payload


CLOSE_PACKET: Final = Wire(b"1")
PING_PACKET: Final = Wire(b"2")
PROBE_ANSWER: Final = Wire(b"3probe")
NOOP_PACKET: Final = Wire(b"6")
