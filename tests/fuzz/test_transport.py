"""The transport in memory and the real one keep the same contract."""

import asyncio
import socket

import pytest

from tests.fuzz.contract_transport import EndsFixture, Recorder, TransportContract
from tests.fuzz.transport import MemoryTransport


class MemoryEnds:
    def __init__(self) -> None:
        self.protocol = Recorder()
        self.transport = MemoryTransport(asyncio.get_running_loop(), self.protocol)

    def send(self, data: bytes) -> None:
        self.transport.feed(data)

    def leave(self) -> None:
        self.transport.end()

    async def received(self, size: int) -> bytes:
        return bytes(self.transport.sent[:size])


class SocketEnds:
    def __init__(self, transport: asyncio.Transport, protocol: Recorder, client: socket.socket) -> None:
        self.transport = transport
        self.protocol = protocol
        self._client = client

    def send(self, data: bytes) -> None:
        self._client.sendall(data)

    def leave(self) -> None:
        self._client.close()

    async def received(self, size: int) -> bytes:
        return await asyncio.get_running_loop().sock_recv(self._client, size)


class TestMemoryTransport(TransportContract):
    @pytest.fixture
    async def ends(self) -> MemoryEnds:
        return MemoryEnds()


class TestRealTransport(TransportContract):
    @pytest.fixture
    async def ends(self) -> EndsFixture:
        loop = asyncio.get_running_loop()
        ours, theirs = socket.socketpair()
        theirs.setblocking(False)
        transport, protocol = await loop.connect_accepted_socket(Recorder, ours)
        yield SocketEnds(transport, protocol, theirs)
        theirs.close()
        transport.abort()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
