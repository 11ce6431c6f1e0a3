"""What has come waits for its turn when too much has come at once: in order, not read meanwhile, and nothing lost."""

import asyncio
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from cluster.kernel.errors import SERVER_SHUTDOWN
from realtime.engine.reading import PIECES_A_TURN, ReadingTurns
from realtime.engine.websocket import WebSocketTransport
from tests.engine.harness import RawSocket, Served, eventually, frame_bytes, serve
from tests.engine.test_pacer import Turned

_REQUEST = (
    b"GET /engine.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: flow.example\r\nUpgrade: websocket\r\n"
    b"Connection: Upgrade\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


@given(st.lists(st.integers(0, 300), max_size=12))
def test_a_turn_serves_its_share_and_the_rest_waits_in_order(arrivals: list[int]) -> None:
    loop: Any = Turned()
    reading = ReadingTurns(loop)
    done: list[int] = []
    came = 0
    for pieces in [*arrivals, *([0] * 30)]:
        before = len(done)
        loop.turn()
        for number in range(came, came + pieces):
            if reading.may_serve():
                done.append(number)
            else:
                reading.wait(lambda number=number: done.append(number))  # type: ignore[misc]
        came += pieces
        assert len(done) - before == min(PIECES_A_TURN, came - before)
    assert done == list(range(came))
    assert len(reading) == 0
    assert loop.calls == []


def _exhaust(served: Served) -> None:
    """Let this turn have served its share."""
    while served.engine.runtime.reading.may_serve():
        pass


async def _socket(served: Served) -> tuple[RawSocket, WebSocketTransport]:
    client = await served.session("/engine.io/")
    (session,) = served.engine.runtime.sessions.values()
    assert isinstance(session.transport, WebSocketTransport)
    return client, session.transport


async def test_pieces_of_one_socket_keep_their_order_when_they_wait() -> None:
    async with serve() as served:
        client, transport = await _socket(served)
        _exhaust(served)
        for number in range(3):
            transport.data_received(frame_bytes(0x81, b"4%d" % number))
        assert served.engine.statistics()["pieces_waiting"] == 1
        client.send("43")
        assert [await client.text() for _ in range(4)] == ["40", "41", "42", "43"]
        assert served.engine.statistics()["pieces_waiting"] == 0


async def test_a_socket_whose_piece_waits_is_not_read_until_its_turn() -> None:
    async with serve() as served:
        client, transport = await _socket(served)
        connection = transport._transport
        assert connection is not None
        _exhaust(served)
        transport.data_received(frame_bytes(0x81, b"4first"))
        assert not connection.is_reading()
        assert await client.text() == "4first"
        assert connection.is_reading()
        client.abort()


async def test_a_socket_that_is_closed_while_its_piece_waits_takes_its_leave() -> None:
    async with serve() as served:
        client, transport = await _socket(served)
        _exhaust(served)
        transport.data_received(frame_bytes(0x81, b"4never served"))
        (session,) = served.engine.runtime.sessions.values()
        session.close(SERVER_SHUTDOWN)
        await client.closed()
        client.abort()
        await eventually(lambda: served.engine.statistics()["sockets_lingering"] == 0)


async def test_a_socket_that_is_lost_while_its_piece_waits_is_forgotten() -> None:
    async with serve() as served:
        client, transport = await _socket(served)
        _exhaust(served)
        transport.data_received(frame_bytes(0x81, b"4never served"))
        transport.abort()
        await eventually(lambda: served.engine.statistics()["sockets"] == 0)
        assert served.engine.statistics()["pieces_waiting"] == 0
        client.abort()


async def test_a_crowd_that_sends_at_once_is_let_in_whole() -> None:
    async with serve() as served:
        crowd = [await asyncio.open_connection("127.0.0.1", served.port) for _ in range(PIECES_A_TURN + 20)]
        for _, writer in crowd:  # in one turn, so that the server finds all of them ready
            writer.write(_REQUEST + frame_bytes(0x81, b"4early"))
        for reader, writer in crowd:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            socket = RawSocket(reader, writer, head)
            assert (await socket.text()).startswith("0{")
            assert await socket.text() == "4early"
        for _, writer in crowd:
            writer.transport.abort()
