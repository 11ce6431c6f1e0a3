"""Engine.IO v4 on a websocket: packets both ways, heartbeat, closing, and offenders closed at once.

The heartbeat's times are long wherever a close is expected, so that no test passes because a heartbeat ran out.
"""

import asyncio

import pytest

from cluster.kernel.errors import NO_PONG, PROTOCOL_ERROR
from realtime.engine.limits import EVERY_ORIGIN, EngineLimits
from tests.engine.harness import AT_ONCE_S, PATIENCE_S, Closed, Dropped, RawSocket, eventually, frame_bytes, serve

_FAST = EngineLimits(ping_interval_ms=300, ping_timeout_ms=200, cors_allowed_origins=EVERY_ORIGIN)
_VIOLATION = Closed(PROTOCOL_ERROR.close_code or 0, "protocol_error")


@pytest.mark.parametrize("message", ["4hello", "4", "4é\x1e", b"\x01\x02\x03\x04", b"", b"x" * 70_000, "4" + "y" * 300])
async def test_messages_are_echoed(message: str | bytes) -> None:
    async with serve() as served:
        socket = await served.session("/engine.io/")
        socket.send(message)
        assert await socket.receive() == message


@pytest.mark.parametrize("packet", ["abc", "", "2", "2probe", "5", "0{}", "7", " 4hello"])
async def test_packets_that_a_client_may_not_send_close_the_socket_at_once(packet: str) -> None:
    async with serve() as served:
        socket = await served.session("/engine.io/")
        socket.send(packet)
        assert await socket.closed(AT_ONCE_S) == _VIOLATION


@pytest.mark.parametrize(
    ("stream", "code"),
    [
        (frame_bytes(0x81, b"4no mask", masked=False), 1002),
        (frame_bytes(0xC1, b"4compressed"), 1002),
        (frame_bytes(0x81, b"4\xff"), 1007),
        (frame_bytes(0x82, b"x" * 1_001), 1009),
        (frame_bytes(0x02, b"x" * 1_000) + frame_bytes(0x80, b"x"), 1009),
    ],
)
async def test_frames_that_a_client_may_not_send_close_the_socket_at_once(stream: bytes, code: int) -> None:
    async with serve(EngineLimits(max_payload_bytes=1_000)) as served:
        socket = await served.session("/engine.io/")
        socket.writer.write(stream)
        assert (await socket.closed(AT_ONCE_S)).code == code
        await served.is_empty()


async def test_nothing_after_an_offence_is_heard() -> None:
    async with serve() as served:
        socket = await served.client()
        socket.writer.write(frame_bytes(0x81, b"4abc") + frame_bytes(0x81, b'42["message","too late"]'))
        assert await socket.text() == "41"
        assert await socket.closed() == _VIOLATION
        assert served.application.events.empty()


async def test_a_message_in_fragments_with_a_ping_between() -> None:
    async with serve() as served:
        socket = await served.session("/engine.io/")
        socket.send_frame(0x01, b"4he")
        socket.send_frame(0x89, b"are you there")
        socket.send_frame(0x80, b"llo")
        assert await socket.receive() == b"are you there"  # a pong
        assert await socket.text() == "4hello"


async def test_a_noop_is_ignored() -> None:
    async with serve() as served:
        socket = await served.session("/engine.io/")
        socket.send("6")
        socket.send("4next")
        assert await socket.text() == "4next"


async def test_the_heartbeat_goes_on_while_it_is_answered() -> None:
    async with serve(_FAST) as served:
        socket = await served.session("/engine.io/")
        for _ in range(3):
            assert await socket.text() == "2"
            socket.send("3")
        assert served.engine.statistics()["sockets"] == 1


async def test_an_unanswered_heartbeat_closes_the_socket_after_the_timeout_and_not_before() -> None:
    async with serve(_FAST) as served:
        loop = asyncio.get_running_loop()
        began = loop.time()
        socket = await served.session("/engine.io/")
        assert await socket.text() == "2"
        assert await socket.closed() == Closed(NO_PONG.close_code or 0, "no_pong")
        assert 0.45 <= loop.time() - began < 0.8


async def test_pongs_that_nobody_asked_for_do_not_put_the_heartbeat_off() -> None:
    async with serve(_FAST) as served:
        socket = await served.session("/engine.io/")

        async def chatter() -> None:
            while True:
                socket.send("3")
                await asyncio.sleep(0.05)

        task = asyncio.ensure_future(chatter())
        assert await socket.text() == "2"
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_a_polling_session_is_pinged_and_timed_out_too() -> None:
    async with serve(_FAST) as served:
        poller = served.poller("/engine.io/")
        await poller.open()
        for _ in range(3):
            assert await poller.get() == (200, "2")
            assert await poller.post("3") == (200, "ok")
        session = served.engine.runtime.sessions[poller.sid]
        await eventually(lambda: not session.is_alive())
        assert (await poller.get())[0] == 400


async def test_the_client_closes_with_a_packet() -> None:
    async with serve() as served:
        socket = await served.session("/engine.io/")
        socket.send("1")
        assert await socket.closed(AT_ONCE_S) == Closed(1000, "")
        await served.is_empty()


@pytest.mark.parametrize("payload", [b"", (1000).to_bytes(2), (1001).to_bytes(2) + b"bye", (4999).to_bytes(2)])
async def test_the_client_closes_with_a_frame(payload: bytes) -> None:
    async with serve() as served:
        socket = await served.client()
        connection = await served.application.connections.get()
        socket.send_frame(0x88, payload)
        assert (await socket.closed()).code == (int.from_bytes(payload[:2]) if payload else 1000)
        assert await served.application.ended.get() == (connection, "transport_close")
        await served.is_empty()


async def test_the_client_vanishes() -> None:
    async with serve() as served:
        socket = await served.client()
        connection = await served.application.connections.get()
        socket.abort()
        async with asyncio.timeout(PATIENCE_S):
            ended, reason = await served.application.ended.get()
        assert ended is connection
        assert reason in ("transport_close", "transport_error")
        await served.is_empty()


async def test_a_client_that_ignores_its_close_is_cut_off() -> None:
    async with serve(EngineLimits(close_timeout_ms=50)) as served:
        socket = await served.session("/engine.io/")
        socket.send("abc")
        assert await socket.receive() == _VIOLATION
        await served.is_empty()
        with pytest.raises(Dropped):
            await _talk_on(socket)


async def _talk_on(socket: RawSocket) -> None:
    while True:
        socket.send("4still talking")
        await socket.receive()
