"""What an input carries and what the server sent, taken apart."""

from collections.abc import Iterator


class Wrong(Exception):
    """The engine broke a promise."""


def packets(rest: bytes) -> Iterator[tuple[bytes, bool]]:
    """The packets that an input carries; see `corpus`."""
    at = 0
    while at + 2 <= len(rest):
        length, kind = rest[at], rest[at + 1]
        yield rest[at + 2 : at + 2 + length] * (1 + (kind & 0x7F)), bool(kind & 0x80)
        at += 2 + length


def frames(stream: bytes) -> Iterator[tuple[int, bytes]]:
    """What the server sent. Raises Wrong when it is not whole, unmasked frames, or anything follows a close."""
    at, closed = 0, False
    while at < len(stream):
        if closed or len(stream) - at < 2 or stream[at + 1] & 0x80:
            raise Wrong(f"not a server's frames: {stream[at : at + 40]!r}")
        length, head = stream[at + 1], 2
        if length >= 126:
            head = 4 if length == 126 else 10
            length = int.from_bytes(stream[at + 2 : at + head], "big")
        if len(stream) < at + head + length:
            raise Wrong("a frame that is not whole")
        closed = stream[at] == 0x88
        yield stream[at], stream[at + head : at + head + length]
        at += head + length
