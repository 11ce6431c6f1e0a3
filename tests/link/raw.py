"""A stranger at the server's port: bytes in, bytes out, no manners of its own."""

import asyncio
from types import TracebackType
from typing import Any, Self

import msgspec

from cluster.link.frames import HEADER
from cluster.link.handshake import DialerHandshake, Identity
from tests.link.doubles import SECRET


def framed(payload: bytes) -> bytes:
    return HEADER.pack(len(payload)) + payload


class Stranger:
    """`async with await Stranger.at(address) as stranger:`."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self.sent = b""

    @classmethod
    async def at(cls, address: tuple[str, int]) -> Self:
        return cls(*await asyncio.open_connection(*address))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._writer.transport.abort()

    def send(self, data: bytes) -> None:
        self.sent += data
        self._writer.write(data)

    def send_frame(self, frame: Any) -> None:
        self.send(framed(msgspec.msgpack.encode(frame)))

    async def receive(self) -> bytes:
        """The payload of one frame."""
        (size,) = HEADER.unpack(await self._reader.readexactly(HEADER.size))
        return await self._reader.readexactly(size)

    async def until_closed(self) -> bytes:
        """What still came before the far side hung up."""
        try:
            async with asyncio.timeout(10):
                return await self._reader.read()
        except ConnectionError:
            return b""

    async def shake_hands(self, *, secret: bytes = SECRET, name: str = "edge-9") -> None:
        handshake = DialerHandshake(secret, Identity(name, f"{name}-a"), None)
        self.send_frame(handshake.hello())
        self.send_frame(handshake.receive(await self.receive()))
        handshake.receive(await self.receive())
        assert handshake.peer is not None
