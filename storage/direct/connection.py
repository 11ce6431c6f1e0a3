"""One connection to a MongoDB server on the event loop: a command goes out, its reply comes back.

Used by the pool, which gives each connection to one command at a time. A connection promises that a reply is the
reply to its command, and that after anything it did not expect (a timeout, a cancelled wait, a broken message, the
server's going away) it is closed and never used again: what became of the command is then unknown.
"""

import asyncio
import ssl
from collections.abc import Sequence
from typing import Any, Final, cast

from storage.direct.op_msg import HEADER_BYTES, Codec, Document, MalformedReply, decode, encode, length_of

Address = tuple[str, int | None]
"""A host and its port, or the path of a socket and None."""

_FIRST_REQUEST: Final = 1
_LAST_REQUEST: Final = 2**31 - 1


class ConnectionLost(Exception):
    """The connection ended, or had to be ended, before the reply; the outcome is unknown."""


class Connection(asyncio.Protocol):
    """Made by `connect`."""

    def __init__(self, codec: Codec) -> None:
        self._codec = codec
        self._transport: asyncio.Transport | None = None
        self._reply: asyncio.Future[dict[str, Any]] | None = None
        self._request = _FIRST_REQUEST
        self._came = bytearray()
        self.is_closed = False

    @classmethod
    async def connect(cls, address: Address, codec: Codec, context: ssl.SSLContext | None) -> "Connection":
        """Not logged in. Raises OSError."""
        host, port = address
        loop = asyncio.get_running_loop()
        if port is None:
            _, made = await loop.create_unix_connection(lambda: cls(codec), host)
            return made
        name = host if context is not None else None
        _, made = await loop.create_connection(lambda: cls(codec), host, port, ssl=context, server_hostname=name)
        return made

    async def ask(self, command: Document, name: str = "", documents: Sequence[Document] = ()) -> dict[str, Any]:
        """The reply, whatever it says. Raises ConnectionLost; and what `encode` raises, which harms nothing."""
        if self.is_closed or self._transport is None:
            raise ConnectionLost("the connection is closed")
        assert self._reply is None, "one command at a time"
        self._request = _FIRST_REQUEST if self._request >= _LAST_REQUEST else self._request + 1
        message = encode(self._request, command, self._codec, name, documents)
        self._reply = asyncio.get_running_loop().create_future()
        self._transport.write(message)
        try:
            return await self._reply
        except asyncio.CancelledError:
            self.close()
            raise
        finally:
            self._reply = None

    def close(self) -> None:
        self.is_closed = True
        if self._transport is not None:
            self._transport.abort()

    # --- the transport's calls ----------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is none by its classes

    def data_received(self, data: bytes) -> None:
        self._came += data
        try:
            while len(self._came) >= HEADER_BYTES and len(self._came) >= (length := length_of(self._came)):
                message = bytes(self._came[:length])
                del self._came[:length]
                self._answer(*decode(message, self._codec))
        except MalformedReply as error:
            self._lose(f"the server sent {error}")

    def _answer(self, request: int, reply: dict[str, Any]) -> None:
        if self._reply is None or self._reply.done() or request != self._request:
            raise MalformedReply("an answer to nothing")
        self._reply.set_result(reply)

    def connection_lost(self, error: Exception | None) -> None:
        self._lose("the connection ended" if error is None else f"the connection ended: {error}")

    def _lose(self, why: str) -> None:
        self.close()
        if self._reply is not None and not self._reply.done():
            self._reply.set_exception(ConnectionLost(why))
