"""Clients that mean harm: every offence costs only the offender, who is told a code, and costs the engine little."""

import asyncio

import msgpack
import pytest

from realtime.engine.frame_reader import TOO_BIG, FrameError, FrameReader, Silence
from realtime.engine.limits import EVERY_ORIGIN, EngineLimits
from tests.engine.harness import AT_ONCE_S, Closed, serve

_VIOLATION = Closed(3501, "protocol_error")


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("EIO=3&transport=polling", 5),
        ("EIO=3&transport=polling&j=0", 5),
        ("EIO=5&transport=polling", 5),
        ("EIO=4&transport=flashsocket", 0),
        ("EIO=4&transport=webtransport", 0),
        ("EIO=4&transport=__proto__", 0),
        ("EIO=4&transport=polling&sid=", 1),
        ("EIO=4&transport=polling&sid=" + "x" * 5_000, 1),
    ],
)
async def test_old_and_unknown_clients_are_refused_by_code(query: str, code: int) -> None:
    async with serve() as served:
        async with served.http.get(f"{served.url}/socket.io/?{query}") as answer:
            assert (answer.status, (await answer.json())["code"]) == (400, code)
        assert served.engine.statistics()["sockets_opened"] == 0


async def test_jsonp_is_not_spoken() -> None:
    async with serve() as served, served.http.get(f"{served.url}/socket.io/?EIO=4&transport=polling&j=0") as answer:
        assert answer.content_type == "text/plain"
        assert (await answer.text()).startswith("0{")


@pytest.mark.parametrize("method", ["HEAD", "PUT", "DELETE", "PATCH", "PROPFIND"])
async def test_methods_of_no_use_are_refused(method: str) -> None:
    async with serve() as served:
        poller = served.poller()
        for _ in range(2):
            async with served.http.request(method, poller.target) as answer:
                assert answer.status == 400
            if not poller.sid:
                await poller.open()
        assert await poller.post("40") == (200, "ok")
        assert served.engine.statistics()["sockets_opened"] == 1
        assert await poller.post("1") == (200, "ok")


async def test_nothing_is_taken_after_the_end() -> None:
    async with serve() as served:
        poller = served.poller()
        await poller.connect()
        assert await poller.post("1") == (200, "ok")
        assert (await poller.post('42["message"]'))[0] == 400
        assert (await poller.get())[0] == 400
        assert served.application.events.empty()
        await served.is_empty()


async def test_packets_behind_a_close_are_not_heard() -> None:
    async with serve() as served:
        poller = served.poller()
        await poller.connect()
        await poller.post('42["before"]\x1e1\x1e42["after"]')
        assert (await served.application.events.get())[0] == "before"
        await served.is_empty()
        assert served.application.events.empty()


@pytest.mark.parametrize("head", [b"\x82\xff" + (2**40).to_bytes(8, "big"), b"\x82\xfe\xff\xff", b"\x01\xfe\x27\x11"])
def test_an_oversized_frame_is_refused_by_its_header(head: bytes) -> None:
    with pytest.raises(FrameError) as caught:
        list(FrameReader(10_000).feed(head + b"mask"))
    assert caught.value.code == TOO_BIG


async def test_a_namespace_with_a_query_string_is_another_namespace() -> None:
    async with serve() as served:
        socket = await served.session()
        socket.send("40/custom?token=x,")
        assert await socket.text() == '44/custom?token=x,{"message":"Invalid namespace"}'


async def test_refused_namespaces_do_not_put_off_the_connect_timeout() -> None:
    async with serve(EngineLimits(connect_timeout_ms=300, cors_allowed_origins=EVERY_ORIGIN)) as served:
        socket = await served.session()

        async def ask() -> None:
            for number in range(10_000):
                socket.send(f"40/nowhere{number},")
                await asyncio.sleep(0.02)

        asking = asyncio.create_task(ask())
        assert (await socket.closed()).code == 3502
        asking.cancel()


async def test_attachments_are_bounded_together() -> None:
    async with serve(EngineLimits(max_payload_bytes=1_000, cors_allowed_origins=EVERY_ORIGIN)) as served:
        socket = await served.client()
        socket.send('453-["message"]')
        socket.send(b"x" * 600)
        socket.send(b"x" * 600)
        assert await socket.closed(AT_ONCE_S) == _VIOLATION


_DEEP = 100_000
_BOMBS = {
    "json brackets": ("/socket.io/", '42["message",' + "[" * _DEEP + "]" * _DEEP + "]"),
    "json braces": ("/socket.io/", '42["message",' + '{"a":' * 900 + "1" + "}" * 900 + "]"),
    "json that can be read and not written": ("/socket.io/", '42["message",' + "[" * 400 + "]" * 400 + "]"),
    "placeholders": ("/socket.io/", '451-["message",' + "[" * 400 + "]" * 400 + "]"),
    "msgpack arrays": ("/socket.io-msgpack/", b"\x91" * _DEEP + b"\x01"),
    "a msgpack array of four billion": ("/socket.io-msgpack/", b"\xdd\xff\xff\xff\xff"),
    "a msgpack map of four billion": ("/socket.io-msgpack/", b"\xdf\xff\xff\xff\xff\x01"),
    "a msgpack string of four gigabytes": ("/socket.io-msgpack/", b"\xdb\xff\xff\xff\xffx"),
    "an unknown msgpack extension": (
        "/socket.io-msgpack/",
        msgpack.packb({"type": 0, "nsp": msgpack.ExtType(9, b"x")}),
    ),
    "a huge ack id": ("/socket.io/", "42" + "9" * 50_000 + '["message"]'),
    "a negative ack id": ("/socket.io/", '42-1["message"]'),
    "a huge number of attachments": ("/socket.io/", "45" + "9" * 50_000 + '-["message"]'),
    "a huge integer": ("/socket.io/", '42["message",' + "9" * 400_000 + "x]"),
}


@pytest.mark.parametrize("bomb", _BOMBS)
async def test_bombs_are_refused(bomb: str) -> None:
    path, message = _BOMBS[bomb]
    async with serve() as served:
        socket = await served.session(path)
        socket.send("40" if isinstance(message, str) else msgpack.packb({"type": 0, "nsp": "/"}))
        for _ in range(2):
            await socket.receive()
        socket.send(message)
        if bomb == "placeholders":
            socket.send(b"x")
        assert await socket.closed() == _VIOLATION
        neighbour = await served.client()
        neighbour.send('42["message",1]')
        assert await neighbour.text() == '42["message-back",1]'


async def test_prototype_like_keys_are_plain_keys() -> None:
    async with serve() as served:
        socket = await served.client()
        body = '{"__proto__":{"admin":true},"constructor":{"prototype":1},"__class__":"x"}'
        socket.send(f'42["message",{body}]')
        assert await socket.text() == f'42["message-back",{body}]'
        socket.send('42["__proto__",1]')
        socket.send('42["constructor",1]')
        names = [(await served.application.events.get())[0] for _ in range(3)]
        assert names == ["message", "__proto__", "constructor"]


@pytest.mark.parametrize("frame", [b"\x8a\x80mask", b"\x00\x80mask"])
def test_a_flood_of_frames_that_say_nothing_can_be_paused(frame: bytes) -> None:
    """Pongs and empty pieces make no message; the reader gives its user a turn all the same."""
    reader = FrameReader(10_000)
    assert list(reader.feed(b"\x01\x80mask")) == []
    given = list(reader.feed(frame * 6_400))
    assert given == [Silence()] * 100


async def test_a_flood_of_pongs_leaves_the_loop_to_others() -> None:
    async with serve() as served:
        flooder, other = await served.client(), await served.client()
        flooder.writer.write(b"\x8a\x80mask" * 200_000)
        other.send('42["message",1]')
        assert await other.text() == '42["message-back",1]'
        flooder.send('42["message",2]')
        assert await flooder.text() == '42["message-back",2]'
