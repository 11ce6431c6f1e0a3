"""The first request of a connection: websockets opened without HTTP, everything else given to HTTP as it came."""

import asyncio
import gc
import json

import pytest

from realtime.engine.client import SocketIoClient
from realtime.engine.connection import NamespaceConnection
from realtime.engine.front import FirstRequest, Front
from realtime.engine.limits import EngineLimits
from realtime.engine.request_head import MAX_HEAD_BYTES, read_head
from realtime.engine.session import Session
from realtime.engine.websocket import WebSocketTransport
from tests.engine.harness import PATIENCE_S, RawSocket, Served, eventually, frame_bytes, serve

_KEY = "AAAAAAAAAAAAAAAAAAAAAA=="
_ACCEPT = "ICX+Yqv66kxgM0FcWaLWlFLwTAI="
_LINES = [
    "GET /engine.io/?EIO=4&transport=websocket HTTP/1.1",
    "Host: flow.example",
    "Upgrade: websocket",
    "Connection: Upgrade",
    f"Sec-WebSocket-Key: {_KEY}",
    "Sec-WebSocket-Version: 13",
]


_PARTS = (FirstRequest, Session, SocketIoClient, NamespaceConnection, WebSocketTransport)


def _living() -> int:
    """Parts of sockets that have not been freed."""
    return sum(isinstance(found, _PARTS) for found in gc.get_objects())


def _request(*more: str, without: str = "-") -> bytes:
    kept = [line for line in _LINES if not line.startswith(without)]
    return "\r\n".join([*kept, *more, "", ""]).encode()


class _Door:
    def address(self, peer: str, forwarded_for: str) -> str:
        return f"{peer} for {forwarded_for}"

    def wait_s(self) -> float:
        return 0.0


class _Raw:
    """A connection that sends what it is told."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def dial(cls, served: Served) -> "_Raw":
        return cls(*await asyncio.open_connection("127.0.0.1", served.port))

    async def answer(self) -> str:
        async with asyncio.timeout(PATIENCE_S):
            return (await self.reader.readuntil(b"\r\n\r\n")).decode()

    async def ended(self) -> bytes:
        """What comes until the server closes."""
        async with asyncio.timeout(PATIENCE_S):
            try:
                return await self.reader.read()
            except ConnectionError:
                return b""

    def close(self) -> None:
        self.writer.transport.abort()


async def test_a_websocket_is_opened_without_the_http_server() -> None:
    async with serve() as served:
        assert served.runner.server is not None
        raw = await _Raw.dial(served)
        raw.writer.write(_request())
        answer = await raw.answer()
        assert answer.startswith("HTTP/1.1 101 Switching Protocols\r\n")
        assert f"\r\nSec-WebSocket-Accept: {_ACCEPT}\r\n" in answer
        assert served.engine.statistics()["sockets"] == 1
        assert served.runner.server.requests_count == 0
        assert served.runner.server.connections == []
        raw.close()


async def test_a_head_may_come_byte_by_byte_and_frames_may_follow_at_once() -> None:
    async with serve() as served:
        raw = await _Raw.dial(served)
        for byte in _request():
            raw.writer.write(bytes([byte]))
            await asyncio.sleep(0)
        raw.writer.write(frame_bytes(0x81, b"4early"))
        socket = RawSocket(raw.reader, raw.writer, await raw.answer())
        assert (await socket.text()).startswith("0{")
        assert await socket.text() == "4early"
        socket.abort()


async def test_frames_in_the_same_piece_as_the_head_are_read() -> None:
    async with serve() as served:
        raw = await _Raw.dial(served)
        early = b"".join(frame_bytes(0x81, b"4%d" % number) for number in range(3))
        raw.writer.write(_request() + early)
        socket = RawSocket(raw.reader, raw.writer, await raw.answer())
        assert (await socket.text()).startswith("0{")
        assert [await socket.text() for _ in range(3)] == ["40", "41", "42"]
        socket.abort()


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (_request("Host: other.example"), 400),
        (_request("Upgrade : websocket"), 400),
        (_request("a b: c"), 400),
        (_request("no colon"), 400),
        (_request("X-Bad: a\x00b"), 400),
        (_request(without="Sec-WebSocket-Key"), 400),
        (_request("Upgrade: h2c", without="Upgrade"), 400),
        (_request("Sec-WebSocket-Version: 8", without="Sec-WebSocket-Version"), 400),
        (_request("Connection: keep-alive", without="Connection"), 400),
        (_request("Origin: https://elsewhere.example"), 403),
        (_request("Padding: " + "x" * MAX_HEAD_BYTES), 400),
        (b"nonsense\r\n\r\n", 400),
        (_request().replace(b"EIO=4", b"EIO=3"), 400),
        (_request().replace(b"EIO=4&", b"EIO=4&sid=nobody&"), 400),
        (_request().replace(b"EIO=4&", b"EIO=4&s%69d=nobody&"), 400),
        (_request().replace(b"engine.io", b"elsewhere"), 404),
        (_request().replace(b"GET", b"PUT"), 400),
        # Out of the ordinary, and right.
        (_request("Cookie: a=\xc3\xa9".encode().decode()), 101),
        (_request("X-Forwarded-For: 10.0.0.1", "X-Forwarded-For: 10.0.0.2"), 101),
        (_request().replace(b"EIO=4", b"EIO=4&EIO=3"), 101),
        (_request().replace(b"/engine.io/", b"/%65ngine.io/"), 101),
    ],
)
async def test_what_is_not_of_the_plain_form_is_answered_by_http(request_bytes: bytes, status: int) -> None:
    async with serve(EngineLimits()) as served:
        raw = await _Raw.dial(served)
        raw.writer.write(request_bytes)
        answer = await raw.answer()
        assert answer.split(" ")[1] == str(status)
        assert served.engine.statistics()["sockets"] == (status == 101)
        raw.close()


async def test_http_keeps_its_connection_and_may_still_open_a_websocket_on_it() -> None:
    async with serve() as served:
        raw = await _Raw.dial(served)
        raw.writer.write(b"GET /engine.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: a\r\n\r\n")
        answer = await raw.answer()
        assert answer.startswith("HTTP/1.1 200 ")
        length = int(answer.lower().split("content-length: ")[1].split("\r\n")[0])
        assert (await raw.reader.readexactly(length)).startswith(b"0{")
        raw.writer.write(_request())
        socket = RawSocket(raw.reader, raw.writer, await raw.answer())
        assert (await socket.text()).startswith("0{")
        socket.send("4hello")
        assert await socket.text() == "4hello"
        socket.abort()


async def test_a_poll_is_not_put_in_line() -> None:
    async with serve() as served:
        poller = served.poller("/engine.io/")
        await poller.open()
        front = Front(served.engine.runtime, {"/engine.io/": served.engine._endpoints["/engine.io/"]}, asyncio.Protocol)
        poll = f"GET /engine.io/?EIO=4&transport=polling&sid={poller.sid} HTTP/1.1\r\nHost: a\r\n\r\n".encode()
        for request, is_in_line in ((poll, False), (_request(), True)):
            head = read_head(request)
            assert head is not None
            assert front.may_open(head) == is_in_line


async def test_requests_that_come_in_one_piece_are_all_answered() -> None:
    async with serve() as served:
        raw = await _Raw.dial(served)
        raw.writer.write(b"GET /nothing HTTP/1.1\r\nHost: a\r\n\r\n" * 2)
        for _ in range(2):
            answer = await raw.answer()
            assert answer.startswith("HTTP/1.1 404 ")
            await raw.reader.readexactly(int(answer.split("Content-Length: ")[1].split("\r\n")[0]))
        raw.close()


@pytest.mark.parametrize("said", [b"", b"GET /engine.io/?EIO=4&transport=web"])
async def test_whoever_does_not_say_what_it_wants_is_closed(said: bytes) -> None:
    async with serve(EngineLimits(request_timeout_ms=50)) as served:
        raw = await _Raw.dial(served)
        raw.writer.write(said)
        assert await raw.ended() == b""
        assert served.engine.statistics()["connections_arriving"] == 0
        raw.close()


async def test_a_head_that_never_ends_is_given_to_http_which_refuses_it() -> None:
    async with serve() as served:
        raw = await _Raw.dial(served)
        raw.writer.write(b"GET /engine.io/?EIO=4&transport=websocket&x=" + b"a" * 2 * MAX_HEAD_BYTES)
        assert (await raw.answer()).split(" ")[1] == "400"
        raw.close()


async def test_whose_connection_it_is_is_asked_of_the_door() -> None:
    async with serve(door=_Door()) as served:
        raw = await _Raw.dial(served)
        raw.writer.write(
            _request("X-Forwarded-For: 10.1.2.3, 10.9.9.9", "Origin: http://flow.example", "User-Agent: me")
        )
        assert (await raw.answer()).startswith("HTTP/1.1 101 ")
        [session] = served.engine.runtime.sessions.values()
        assert session.peer.remote_address == "127.0.0.1 for 10.1.2.3, 10.9.9.9"
        assert session.peer.origin == "http://flow.example"
        assert session.peer.query_string == "EIO=4&transport=websocket"
        raw.close()


async def test_no_more_than_the_limit_may_be_on_their_way() -> None:
    async with serve(EngineLimits(max_sockets=2)) as served:
        first = [await _Raw.dial(served) for _ in range(2)]
        await eventually(lambda: served.engine.statistics()["connections_arriving"] == 2)
        third = await _Raw.dial(served)
        assert await third.ended() == b""
        first[0].writer.write(_request())
        assert (await first[0].answer()).startswith("HTTP/1.1 101 ")
        for raw in (*first, third):
            raw.close()
        await eventually(lambda: served.engine.statistics()["connections_arriving"] == 0)


async def test_a_full_engine_answers_as_http_does_and_closes() -> None:
    async with serve(EngineLimits(max_sockets=1)) as served:
        first = await _Raw.dial(served)
        first.writer.write(_request())
        assert (await first.answer()).startswith("HTTP/1.1 101 ")
        third = await _Raw.dial(served)
        third.writer.write(_request())
        answer = await third.answer()
        assert answer.startswith("HTTP/1.1 503 ")
        assert "Retry-After: 5\r\n" in answer
        assert json.loads(await third.ended()) == {"code": 4, "message": "The server takes no more connections now"}
        assert served.engine.statistics()["requests_refused"] == 1
        first.close()
        third.close()


async def test_closing_the_engine_leaves_nobody_on_the_way() -> None:
    async with serve() as served:
        raw = await _Raw.dial(served)
        await eventually(lambda: served.engine.statistics()["connections_arriving"] == 1)
        await served.runner.cleanup()
        assert await raw.ended() == b""
        assert served.engine.statistics()["connections_arriving"] == 0
        raw.close()


async def test_a_crowd_is_served_in_turns_and_in_order() -> None:
    async with serve() as served:
        pacer, done = served.engine.runtime.pacer, []
        for number in range(100):
            pacer.add(lambda number=number: done.append(number))  # type: ignore[misc]
        assert len(pacer) == 100
        turns = 0
        while len(done) < 100:
            before = len(done)
            await asyncio.sleep(0)
            turns += 1
            assert len(done) - before <= 16
        assert done == list(range(100))
        assert turns >= 6


async def test_one_that_leaves_in_line_costs_nobody_anything() -> None:
    async with serve() as served:
        served.application.gate = asyncio.Event()
        socket = await served.session()
        socket.send("40")
        socket.send("41")
        socket.send("40/custom,")
        await eventually(lambda: bool(served.application.asked.qsize()))
        served.application.gate.set()
        assert (await socket.text()).startswith('40/custom,{"sid"')
        await eventually(lambda: served.engine.statistics()["admissions"] == 0)
        socket.abort()


async def test_a_socket_that_has_gone_leaves_nothing_to_the_collector() -> None:
    async with serve() as served:

        async def come_and_go() -> None:
            socket = await served.client()
            socket.send('42["message",1]')
            assert await socket.text() == '42["message-back",1]'
            socket.abort()
            await served.application.ended.get()
            for queue in (served.application.connections, served.application.asked, served.application.events):
                queue.get_nowait()
            served.application.handshakes.clear()
            served.sockets.clear()

        await come_and_go()
        await served.is_empty()
        gc.collect()
        gc.disable()
        try:
            before = _living()
            for _ in range(5):
                await come_and_go()
            await served.is_empty()
            await asyncio.sleep(0)
            after = _living()
        finally:
            gc.enable()
        assert after <= before
