"""What leaves the engine: one encoding, one write a turn, one order, and a bound in bytes on who does not read."""

import asyncio
import gc
import socket as sockets
import time

from cluster.kernel.errors import SLOW_CONSUMER
from realtime.engine.events import JSON, MSGPACK, OutgoingEvent
from realtime.engine.limits import EVERY_ORIGIN, EngineLimits
from realtime.engine.port import Connection
from realtime.engine.session import Session
from realtime.engine.websocket import WebSocketTransport
from tests.engine.harness import PATIENCE_S, Closed, RawSocket, Served, eventually, frame_bytes, serve

_BOUND = 100_000


async def _room(served: Served, size: int) -> tuple[list[RawSocket], list[Connection]]:
    clients = [await served.client() for _ in range(size)]
    return clients, [await served.application.connections.get() for _ in range(size)]


async def test_a_broadcast_reaches_every_parser_and_transport() -> None:
    async with serve() as served:
        (json_client,), _ = await _room(served, 1)
        poller = served.poller()
        await poller.connect()
        msgpack_client = await served.session("/socket.io-msgpack/")
        msgpack_client.send(b"\x82\xa4type\x00\xa3nsp\xa1/")
        await msgpack_client.receive()
        await msgpack_client.receive()
        everyone = _connections(served)
        assert len(everyone) == 3
        event = served.engine.encode("/", "news", {"n": 1}, b"\xff")
        served.engine.broadcast(everyone, event)
        hole = '{"_placeholder":true,"num":0}'
        assert await json_client.text() == f'451-["news",{{"n":1}},{hole}]'
        assert await json_client.receive() == b"\xff"
        assert await poller.get() == (200, f'451-["news",{{"n":1}},{hole}]\x1eb/w==')
        assert await msgpack_client.receive() == (
            b"\x83\xa4type\x02\xa3nsp\xa1/\xa4data\x93\xa4news\x81\xa1n\x01\xc4\x01\xff"
        )


def _connections(served: Served) -> list[Connection]:
    seen = []
    while not served.application.asked.empty():
        seen.append(served.application.asked.get_nowait())
    return seen


def test_an_event_is_encoded_and_framed_once() -> None:
    event = OutgoingEvent("/", "news", ("x" * 100,))
    assert event.wire(JSON).frame is event.wire(JSON).frame
    assert event.wire(JSON).payload is event.wire(JSON).payload
    assert event.wire(MSGPACK).frame is event.wire(MSGPACK).frame


async def test_messages_of_one_turn_leave_in_one_write() -> None:
    async with serve() as served:
        (client,), (connection,) = await _room(served, 1)
        before = served.engine.statistics()
        events = [served.engine.encode("/", "n", number) for number in range(20)]
        for event in events:
            served.engine.broadcast([connection], event)
        connection.emit("n", 20)
        assert [await client.text() for _ in range(21)] == [f'42["n",{number}]' for number in range(21)]
        after = served.engine.statistics()
        assert after["writes"] - before["writes"] == 1
        assert after["messages_out"] - before["messages_out"] == 21


async def test_acks_events_pings_and_the_close_keep_their_order() -> None:
    limits = EngineLimits(ping_interval_ms=60, ping_timeout_ms=5_000, cors_allowed_origins=EVERY_ORIGIN)
    async with serve(limits) as served:
        (client,), (connection,) = await _room(served, 1)
        for number in range(200):
            client.send(f'42{number}["message-with-ack",{number}]')
        received: list[str] = []
        for number in range(200):
            assert await served.application.events.get() == ("message-with-ack", [number])
            connection.send(served.engine.encode("/", "after", number))
            if number % 20 == 0:
                await asyncio.sleep(0.01)
        connection.close(SLOW_CONSUMER)
        while not isinstance(message := await client.receive(), Closed):
            assert isinstance(message, str)
            received.append(message)
        assert [message for message in received if message.startswith("43")] == [f"43{n}[{n}]" for n in range(200)]
        assert [m for m in received if m.startswith("42")] == [f'42["after",{n}]' for n in range(200)]
        assert "2" in received
        assert message == Closed(3008, "slow_consumer")


async def test_a_client_that_sends_a_flood_leaves_the_loop_to_others() -> None:
    async with serve() as served:
        (client,), _ = await _room(served, 1)
        loop = asyncio.get_running_loop()
        in_this_turn, most, total = 0, 0, 0

        def event(connection: Connection, name: str, args: list[object], ack: object) -> None:
            nonlocal in_this_turn, most, total
            in_this_turn += 1
            most, total = max(most, in_this_turn), total + 1
            assert args == [total]

        def turn() -> None:
            nonlocal in_this_turn
            in_this_turn = 0
            ticking.append(loop.call_soon(turn))
            del ticking[:-1]

        ticking: list[asyncio.Handle] = []
        served.application.event = event  # type: ignore[method-assign]
        turn()
        flood = b"".join(frame_bytes(0x81, f'42["n",{number}]'.encode()) for number in range(1, 10_001))
        client.writer.write(flood)
        await eventually(lambda: total == 10_000)
        ticking[-1].cancel()
        assert 1 < most <= 512


async def test_a_large_room_gets_everything_though_it_takes_many_turns() -> None:
    async with serve() as served:
        clients, connections = await _room(served, 40)
        for number in range(100):
            served.engine.broadcast(connections, served.engine.encode("/", "n", number))
            if number % 10 == 0:
                await asyncio.sleep(0)
        for client in clients:
            assert [await client.text() for _ in range(100)] == [f'42["n",{number}]' for number in range(100)]


async def test_a_reader_that_stops_is_closed_and_delays_nobody() -> None:
    limits = EngineLimits(max_outbox_bytes=_BOUND, close_timeout_ms=200, cors_allowed_origins=EVERY_ORIGIN)
    async with serve(limits) as served:
        clients, connections = await _room(served, 4)
        stalled, stalled_connection = clients[0], connections[0]
        stalled.writer.transport.pause_reading()  # type: ignore[attr-defined]
        stalled.writer.get_extra_info("socket").setsockopt(sockets.SOL_SOCKET, sockets.SO_RCVBUF, 4_096)
        largest = 0.0
        worst_s = 0.0
        rounds = 0
        async with asyncio.timeout(PATIENCE_S * 4):
            while stalled_connection.is_open:
                event = served.engine.encode("/", "n", rounds, "x" * 10_000)
                sent_at = time.perf_counter()
                served.engine.broadcast(connections, event)
                for client in clients[1:]:
                    assert (await client.text()).startswith(f'42["n",{rounds},')
                worst_s = max(worst_s, time.perf_counter() - sent_at)
                largest = max(largest, served.engine.statistics()["bytes_unsent"])
                rounds += 1
            assert await served.application.ended.get() == (stalled_connection, "slow_consumer")
        assert rounds > 5
        assert largest <= _BOUND
        assert worst_s < 0.5
        assert served.engine.statistics()["closes.slow_consumer"] == 1
        served.engine.broadcast(connections, served.engine.encode("/", "n", rounds))
        for client in clients[1:]:
            assert await client.text() == f'42["n",{rounds}]'


async def test_a_slow_reader_that_goes_on_reads_its_close_code() -> None:
    limits = EngineLimits(max_outbox_bytes=_BOUND, close_timeout_ms=5_000)
    async with serve(limits) as served:
        (stalled,), (connection,) = await _room(served, 1)
        stalled.writer.transport.pause_reading()  # type: ignore[attr-defined]
        async with asyncio.timeout(PATIENCE_S):
            while connection.is_open:
                connection.emit("n", "x" * 10_000)
                await asyncio.sleep(0)
        stalled.writer.transport.resume_reading()  # type: ignore[attr-defined]
        assert await stalled.closed() == Closed(3008, "slow_consumer")


async def test_a_slow_reader_that_never_goes_on_is_cut_off_and_forgotten() -> None:
    limits = EngineLimits(max_outbox_bytes=_BOUND, close_timeout_ms=50)
    async with serve(limits) as served:
        (stalled,), (connection,) = await _room(served, 1)
        stalled.writer.transport.pause_reading()  # type: ignore[attr-defined]
        async with asyncio.timeout(PATIENCE_S):
            while connection.is_open:
                connection.emit("n", "x" * 10_000)
                await asyncio.sleep(0)
        await served.is_empty()
        assert served.engine.statistics()["bytes_unsent"] == 0


async def test_one_message_larger_than_the_outbox_goes_to_a_reader_that_owes_nothing() -> None:
    async with serve(EngineLimits(max_outbox_bytes=10_000)) as served:
        (client,), (connection,) = await _room(served, 1)
        connection.emit("n", "x" * 3_000_000)
        assert len(await client.text()) == 3_000_010
        assert connection.is_open


async def test_ended_sockets_leave_nothing_behind() -> None:
    async with serve() as served:
        await _room(served, 20)
        for client in served.sockets:
            client.send("1")
            await client.closed()
        await served.is_empty()
        while not served.application.ended.empty():
            served.application.ended.get_nowait()
        served.application.handshakes.clear()
        _connections(served)
        statistics = served.engine.statistics()
        assert statistics["timers"] == statistics["sockets"] == statistics["connections"] == 0
        gc.collect()
        await asyncio.sleep(0)
        kinds = (Session, WebSocketTransport)
        assert [type(thing) for thing in gc.get_objects() if isinstance(thing, kinds)] == []


async def test_an_idle_socket_holds_no_task() -> None:
    async with serve() as served:
        await served.client()
        before = len(asyncio.all_tasks())
        for _ in range(10):
            await served.client()
        await eventually(lambda: len(asyncio.all_tasks()) <= before)
        (client, *_) = served.sockets
        client.send('42["message"]')
        await client.text()
        assert len(asyncio.all_tasks()) <= before
