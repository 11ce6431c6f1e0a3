"""What an asyncio transport promises the engine, as one suite for the real one and the one in memory."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any, Protocol

from tests.engine.harness import eventually


class Ends(Protocol):
    """A transport with the client's end of it."""

    transport: asyncio.Transport
    protocol: "Recorder"

    def send(self, data: bytes) -> None: ...

    def leave(self) -> None: ...

    async def received(self, size: int) -> bytes: ...


class Recorder(asyncio.Protocol):
    def __init__(self) -> None:
        self.data = bytearray()
        self.ends: list[Exception | None] = []

    def data_received(self, data: bytes) -> None:
        self.data += data

    def connection_lost(self, exc: Exception | None) -> None:
        self.ends.append(exc)


class TransportContract:
    """The subclass gives the fixture `ends`."""

    async def test_bytes_arrive_in_order_both_ways(self, ends: Any) -> None:
        ends.send(b"one")
        ends.send(b"two")
        await eventually(lambda: ends.protocol.data == b"onetwo")
        ends.transport.write(b"three")
        ends.transport.write(b"four")
        assert await ends.received(9) == b"threefour"
        assert ends.transport.get_write_buffer_size() == 0

    async def test_a_new_protocol_gets_what_comes_next(self, ends: Any) -> None:
        second = Recorder()
        ends.transport.set_protocol(second)
        ends.send(b"hello")
        await eventually(lambda: second.data == b"hello")
        assert ends.protocol.data == b""

    async def test_a_paused_transport_gives_nothing_until_it_is_resumed(self, ends: Any) -> None:
        ends.transport.pause_reading()
        ends.send(b"later")
        for _ in range(5):
            await asyncio.sleep(0)
        assert ends.protocol.data == b""
        ends.transport.resume_reading()
        ends.transport.resume_reading()
        await eventually(lambda: ends.protocol.data == b"later")

    async def test_the_end_is_told_once_and_in_a_turn_of_its_own(self, ends: Any) -> None:
        ends.transport.close()
        assert ends.transport.is_closing()
        assert ends.protocol.ends == []
        ends.transport.abort()
        ends.transport.close()
        ends.transport.write(b"into the void")
        await eventually(lambda: ends.protocol.ends == [None])
        await asyncio.sleep(0)
        assert ends.protocol.ends == [None]

    async def test_an_aborted_transport_ends_too(self, ends: Any) -> None:
        ends.transport.abort()
        await eventually(lambda: len(ends.protocol.ends) == 1)

    async def test_a_client_that_leaves_is_noticed(self, ends: Any) -> None:
        ends.leave()
        await eventually(lambda: len(ends.protocol.ends) == 1)

    async def test_a_half_closed_transport_still_reads(self, ends: Any) -> None:
        assert ends.transport.can_write_eof()
        ends.transport.write_eof()
        ends.send(b"still here")
        await eventually(lambda: ends.protocol.data == b"still here")


EndsFixture = AsyncIterator[Ends]
