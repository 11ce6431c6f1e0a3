"""Takes a connection away from aiohttp when a request becomes a websocket.

aiohttp keeps a request, a response, a parser and two tasks alive for the whole life of each of its websockets. Here the
HTTP side ends with the handshake: the answer is written, the transport gets our protocol, aiohttp is told that its
connection has gone, and its handler returns a response that writes nothing.
"""

import asyncio
import binascii
import hashlib
import re
from collections.abc import Mapping
from typing import Any, Final, Protocol

from aiohttp import web

from realtime.engine.websocket import WebSocketTransport

_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_KEY: Final = re.compile(r"[A-Za-z0-9+/]{22}==")
"""Sixteen bytes in base64."""

_SWITCHING: Final = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: %b\r\n\r\n"
)


def websocket_accept(request: web.Request) -> str | None:
    """The Sec-WebSocket-Accept for this request, or None when it is not a valid websocket handshake."""
    return accept_key(request.headers) if request.transport is not None and request.method == "GET" else None


def accept_key(headers: Mapping[str, str]) -> str | None:
    """The Sec-WebSocket-Accept for a GET with these headers, or None when it is not a valid websocket handshake.

    `headers` are asked for lower-case names.
    """
    if headers.get("upgrade", "").strip().lower() != "websocket":
        return None
    connection = headers.get("connection", "").lower()
    if connection != "upgrade" and "upgrade" not in {token.strip() for token in connection.split(",")}:
        return None
    key = headers.get("sec-websocket-key", "")
    if headers.get("sec-websocket-version") != "13" or _KEY.fullmatch(key) is None:
        return None
    digest = hashlib.sha1(key.encode() + _GUID, usedforsecurity=False).digest()
    return binascii.b2a_base64(digest, newline=False).decode()


def switching(accept: str) -> bytes:
    """The answer that opens a websocket. No extension is accepted: with permessage-deflate a socket would cost ten
    times the memory and no frame could be shared between sockets."""
    return _SWITCHING % accept.encode()


def hand_over(request: web.Request, websocket: WebSocketTransport, accept: str) -> web.StreamResponse:
    """Give the request's connection to `websocket`. The handler must return the result at once, without an await.

    The handshake's answer leaves with whatever is pushed in this loop turn.
    """
    early = take_over(request, websocket, switching(accept))
    if early:
        asyncio.get_running_loop().call_soon(websocket.data_received, early)
    return HandedOver(status=101)


class Successor(Protocol):
    """Whatever gets the connection."""

    def attach(self, transport: asyncio.Transport, head: bytes) -> None:
        """Become the transport's protocol, and send `head` before anything else."""


def take_over(request: web.Request, successor: Successor, head: bytes) -> bytes:
    """Give the request's connection to `successor`. Returns what the client has sent already: it may not before it has
    read the answer, but one that does is read all the same. The handler must return `HandedOver` at once."""
    http = request.protocol
    transport = http.transport
    assert transport is not None, "the connection must be live"
    early = bytes(http._message_tail)  # noqa: SLF001
    http.transport = None
    successor.attach(transport, head)
    http.connection_lost(None)
    return early


class HandedOver(web.StreamResponse):
    """The response of a request whose connection is no longer aiohttp's: preparing and ending it do nothing."""

    async def prepare(self, request: web.BaseRequest) -> Any:
        return None

    async def write_eof(self, data: bytes = b"") -> None:
        return None

    @property
    def keep_alive(self) -> bool:
        return False
