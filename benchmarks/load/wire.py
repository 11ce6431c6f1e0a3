"""The client's side of the wire, by hand: websocket frames, Engine.IO packets and the few Socket.IO packets in use.

Client frames are masked with zeros, which costs every server the same as any other mask and the generator nothing.
"""

import base64
import json
import struct
import zlib
from collections.abc import Iterator
from typing import Any, Final

NAMESPACE: Final = "/chat"
CONNECTED: Final = b"40/chat,"
REFUSED: Final = b"44/chat,"
ACK: Final = b"43/chat,"
MESSAGE: Final = b'42/chat,["chat:new_message"'
OPENED: Final = b"0{"
PING: Final = b"2"
CLOSE_OPCODE: Final = 8
SEQ: Final = b'"seq":'
ROOM: Final = b'"roomId":"'
CLIENT_ID: Final = b'"clientMsgId":"'

_NO_MASK: Final = b"\x00\x00\x00\x00"
_DEFLATED: Final = 0x40
_LEFT_OUT: Final = b"\x00\x00\xff\xff"
"""Ends every message of a deflated stream and is not sent (RFC 7692, 7.2.1)."""


def frame(text: bytes) -> bytes:
    """One final text frame of a client."""
    head = _length(len(text))
    return bytes((0x81, 0x80 | head[0])) + head[1:] + _NO_MASK + text


def _length(size: int) -> bytes:
    """Of a payload, as a frame that is not masked tells it."""
    if size < 126:
        return bytes((size,))
    return struct.pack("!BH", 126, size) if size < 65536 else struct.pack("!BQ", 127, size)


PONG: Final = frame(b"3")


def frames(data: bytes, start: int = 0) -> Iterator[tuple[int, int, int, int]]:
    """The whole frames in what a server sent: opcode, where the payload begins and ends, where the next one begins."""
    size = len(data)
    while size - start >= 2:
        length, begin = data[start + 1], start + 2
        if length == 126:
            if size - start < 4:
                return
            length, begin = (data[start + 2] << 8) | data[start + 3], start + 4
        elif length == 127:
            if size - start < 10:
                return
            length, begin = int.from_bytes(data[start + 2 : start + 10], "big"), start + 10
        end = begin + length
        if end > size:
            return
        yield data[start] & 0x0F, begin, end, end
        start = end


class Inflating:
    """What a server sends by permessage-deflate (RFC 7692), its context taken over, as frames that are not deflated."""

    AGREED: Final = b"permessage-deflate"
    """Stands in the answer to the handshake when the server deflates."""

    def __init__(self) -> None:
        self._stream = zlib.decompressobj(-zlib.MAX_WBITS)
        self._tail = b""

    def feed(self, data: bytes) -> bytes:
        """The frames that are whole now; the rest waits for its end."""
        data = self._tail + data
        done, plain = 0, []
        for opcode, begin, end, after in frames(data):
            payload = data[begin:end]
            if data[done] & _DEFLATED:
                payload = self._stream.decompress(payload + _LEFT_OUT)
            plain.append(bytes((0x80 | opcode,)) + _length(len(payload)) + payload)
            done = after
        self._tail = data[done:]
        return b"".join(plain)


def upgrade(host: str, port: int, *, deflate: bool) -> bytes:
    """The handshake of a client that comes by websocket alone; `deflate` offers permessage-deflate as browsers do."""
    key = base64.b64encode(b"load generator..").decode()
    extension = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n" if deflate else ""
    return (
        f"GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: {host}:{port}\r\n"
        "Upgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n{extension}\r\n"
    ).encode()


def connect(auth: dict[str, Any]) -> bytes:
    return frame(CONNECTED + json.dumps(auth, separators=(",", ":")).encode())


def event(ack_id: int, name: str, body: Any) -> bytes:
    return frame(b"42/chat,%d" % ack_id + json.dumps([name, body], separators=(",", ":")).encode())


def send_message(ack_id: int, room: str, text: str, client_message_id: str) -> bytes:
    """Prebuilt but for its ids: the generator makes hundreds of thousands of these."""
    return frame(
        f'42/chat,{ack_id}["chat:send_message",{{"roomId":"{room}","text":"{text}",'
        f'"clientMsgId":"{client_message_id}"}}]'.encode()
    )


def number_after(data: bytes, mark: bytes, start: int, end: int) -> int:
    """The digits that follow `mark`. Raises ValueError where there is none."""
    begin = data.index(mark, start, end) + len(mark)
    stop = begin
    while stop < end and 48 <= data[stop] <= 57:
        stop += 1
    return int(data[begin:stop])
