"""What honest and nearly honest clients send: the seeds that every run of the fuzzer starts from.

An input is one byte that names the surface, one that says how it is cut and ended, and the rest. On the surfaces that
carry packets the rest is packets, each behind a length byte and a kind byte; on POLLS it is the steps of polls.py;
elsewhere it is the stream itself.
"""

from enum import IntEnum
from typing import Final

import msgpack

from tests.engine.harness import frame_bytes


class Surface(IntEnum):
    JSON_PACKETS = 0
    MSGPACK_PACKETS = 1
    ENGINE_PACKETS = 2
    RAW_FRAMES = 3
    PAYLOADS = 4
    PROBE = 5
    QUERY = 6
    FRONT = 7
    POLLS = 8


JSON_TEXTS: Final = (
    "40",
    "40/custom,",
    "40/nowhere,",
    '40{"token":"x"}',
    "40[]",
    "41",
    "41/custom,",
    '42["message",1,"2",{"3":[true]}]',
    '42/custom,["message","x"]',
    '427["message-with-ack"]',
    '4299999999999999999["message"]',
    "43[]",
    "431[]",
    '42["disconnect"]',
    '42["fail"]',
    '42["__proto__",{"__proto__":1,"constructor":2}]',
    "42{}",
    "42[]",
    "42[1.5]",
    '451-["message",{"_placeholder":true,"num":0}]',
    '451-["message",{"_placeholder":true,"num":-1}]',
    '452-7["message-with-ack",{"_placeholder":true,"num":1},{"_placeholder":true,"num":0}]',
    '450-["message"]',
    '4599-["message"]',
    '461-1[{"_placeholder":true,"num":0}]',
    '44{"message":"x"}',
    "4",
    "40?a=1,",
    "40/custom?a=1,",
    '42["\\ud800"]',
    '42["message",1e999]',
    "1",
    "2",
    "2probe",
    "3",
    "3probe",
    "5",
    "6",
    "0",
    "7",
    "",
    "4abc",
    "42" + "[" * 300 + "]" * 300,
    '451-["message",' + "[" * 260 + "]" * 260 + "]",
)

_PACKED: Final = tuple(
    msgpack.packb(body)
    for body in (
        {"type": 0, "nsp": "/"},
        {"type": 0, "nsp": "/custom", "data": {"a": 1}},
        {"type": 0, "nsp": "/nowhere"},
        {"type": 2, "nsp": "/", "data": ["message", b"\x01", None]},
        {"type": 1, "nsp": "/"},
        {"type": 2, "nsp": "/", "data": ["message-with-ack", 1], "id": 7},
        {"type": 3, "nsp": "/", "data": [], "id": 1},
        {"type": 2, "nsp": "/", "data": ["message"], "id": 2**64 - 1},
        {"type": 4, "nsp": "/", "data": {}},
        {"type": 5, "nsp": "/", "data": ["message"]},
        {"type": -1, "nsp": 1},
        {"nsp": "/"},
        [],
        1,
        None,
        {"type": 2, "nsp": "/", "data": ["message", msgpack.ExtType(0, b"\0"), msgpack.ExtType(0, b"\x7f" * 8)]},
        {"type": 2, "nsp": "/", "data": ["message", msgpack.ExtType(5, b"")]},
        {1: 2, "type": 0, "nsp": "/"},
        {"type": 2, "nsp": "/", "data": ["message", 2**63, float("nan"), float("inf")]},
    )
)
MSGPACK_PACKETS: Final = (
    *_PACKED,
    b"\xdf\xff\xff\xff\xff",
    b"\xdd\xff\xff\xff\xff",
    b"\xc6\xff\xff\xff\xff",
    b"\x91" * 1200,
    b"\x81\x90\x01",
    b"\x81\x81\x01\x01\x01",
    b"\xc1",
    b"\xc9\xff\xff\xff\xff\x00",
    b"\xd6\xff\0\0\0\0",
)

PAYLOADS: Final = (
    "40",
    '40\x1e42["message",1]',
    '40\x1e451-["message",{"_placeholder":true,"num":0}]\x1ebAQID',
    "b",
    "bAQ",
    "b====",
    "4" + "x" * 2_100,
    "\x1e",
    "\x1e" * 40,
    "1",
    "3",
    "4",
    "2",
    "",
    '40\x1e1\x1e42["message"]',
    "bAQIDBA==\x1e4hello",
)

QUERIES: Final = (
    "EIO=4&transport=polling",
    "EIO=3&transport=polling",
    "EIO=4&transport=polling&j=0",
    "EIO=4&transport=websocket",
    "EIO=4&transport=webtransport",
    "EIO=4&transport=polling&sid=nobody",
    "transport=polling",
    "EIO=4&EIO=4",
    "%ff=%00&EIO=4",
    "EIO=4&transport=polling&sid=" + "x" * 300,
)

_FRAMES: Final = (
    frame_bytes(0x81, b"40"),
    frame_bytes(0x81, b'42["message",1]'),
    frame_bytes(0x01, b'42["mes') + frame_bytes(0x80, b'sage"]'),
    frame_bytes(0x89, b"ping"),
    frame_bytes(0x8A, b"pong"),
    frame_bytes(0x88, b"\x03\xe8"),
    frame_bytes(0x88, b"\x03"),
    frame_bytes(0x88, b""),
    frame_bytes(0x88, b"\x03\xed"),
    frame_bytes(0x80, b"lost"),
    frame_bytes(0xC1, b"40"),
    frame_bytes(0x83, b""),
    frame_bytes(0x81, b"40", masked=False),
    frame_bytes(0x09, b""),
    frame_bytes(0x81, b"\xff\xfe"),
    frame_bytes(0x82, b"\x04bin"),
    frame_bytes(0x89, b"x" * 126),
    b"\x81\xff" + b"\xff" * 8 + b"\0" * 4,
    b"\x81\xfe\xff\xff\0\0\0\0" + b"4" * 50,
    frame_bytes(0x01, b"4") + frame_bytes(0x00, b"x") * 20,
    frame_bytes(0x01, b"4") + frame_bytes(0x81, b"4"),
)


def packet(data: bytes, *, binary: bool = False) -> bytes:
    """One packet as an input carries it: its length, its kind with its number of repeats, and its bytes."""
    piece = data[:255]
    return bytes([len(piece), 0x80 if binary else 0]) + piece


_POLLS: Final = (
    b"\x02\x00\x00\x02\x00\x02\x02\x00\x00\x03",
    b"\x00\x02\x00\x02\x02\x00\x02\x00\x01\x00",
    b"\x02\x00\x01\x00\x02\x00\x02\x00\x01\x00",
    b"\x02\x00" + b"\x00\x02" * 10,
    b"\x02\x00\x00\x01\x02\x00\x00\x01\x02\x00\x00\x00",
    b"\x00\x02\x00\x02\x03\x00\x02\x00",
    b"\x01\x00\x01\x00",
    b"\x02\x00" * 20 + b"\x01\x00" * 3,
)

_HEAD: Final = (
    b"GET /engine.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
_AFTER_HEAD: Final = (b"", frame_bytes(0x81, b"4early"), b"\0" * 40, frame_bytes(0x88, b""))
_ODD_FIELDS: Final = (
    b"Host: b",
    b"Content-Length: 5",
    b"no colon",
    b" folded",
    b"X: \xff",
    b"Origin: http://b",
    b"A: " + b"x" * 200,
)


def seeds() -> list[bytes]:
    """In an order that never changes."""
    texts = [packet(text.encode()) for text in JSON_TEXTS]
    packed = [packet(body, binary=True) for body in MSGPACK_PACKETS]
    joined = packet(b"40")
    both = packet(b"\x01\x02", binary=True) * 2
    found = [bytes([Surface.JSON_PACKETS, end]) + joined + text for end, text in enumerate(texts)]
    found += [bytes([Surface.JSON_PACKETS, 0]) + text for text in texts]
    found += [bytes([Surface.JSON_PACKETS, 1]) + joined + text + both for text in texts]
    found += [bytes([Surface.MSGPACK_PACKETS, 0]) + packed[0] + body for body in packed]
    found += [bytes([Surface.ENGINE_PACKETS, end]) + text for end, text in enumerate(texts)]
    found += [bytes([Surface.RAW_FRAMES, end]) + one + two for end, one in enumerate(_FRAMES) for two in _FRAMES[:6]]
    found += [bytes([Surface.PAYLOADS, end]) + payload.encode() for end, payload in enumerate(PAYLOADS)]
    found += [
        bytes([Surface.PROBE, 0]) + packet(one) + packet(two)
        for one in (b"2probe", b"5", b"40")
        for two in (b"5", b"2probe", b"1")
    ]
    found += [bytes([Surface.QUERY, 0]) + query.encode() for query in QUERIES]
    found += [bytes([Surface.FRONT, end]) + _HEAD + more for end in (0, 3, 0x20) for more in _AFTER_HEAD]
    found += [bytes([Surface.FRONT, 0]) + _HEAD[:-2] + field + b"\r\n\r\n" for field in _ODD_FIELDS]
    found += [bytes([Surface.POLLS, 0]) + steps for steps in _POLLS]
    return found
