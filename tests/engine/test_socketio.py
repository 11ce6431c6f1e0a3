"""Socket.IO v5: namespaces, events, acks, attachments, and every malformed packet closed at once with its code."""

import asyncio
import json

import msgpack
import pytest

from cluster.kernel.errors import STALE
from realtime.engine.limits import EVERY_ORIGIN, EngineLimits
from tests.engine.harness import AT_ONCE_S, Closed, serve

_VIOLATION = Closed(3501, "protocol_error")


@pytest.mark.parametrize(
    ("packet", "prefix", "auth"),
    [
        ("40", "40", "{}"),
        ("40{}", "40", "{}"),
        ('40{"token":"123"}', "40", '{"token":"123"}'),
        ("40/,", "40", "{}"),
        ("40/custom", "40/custom,", "{}"),
        ("40/custom,", "40/custom,", "{}"),
        ('40/custom,{"token":"abc"}', "40/custom,", '{"token":"abc"}'),
    ],
)
async def test_connecting(packet: str, prefix: str, auth: str) -> None:
    async with serve() as served:
        socket = await served.session()
        socket.send(packet)
        answer = await socket.text()
        assert answer.startswith(prefix + "{")
        assert json.loads(answer.removeprefix(prefix)).keys() == {"sid"}
        assert await socket.text() == prefix.replace("40", "42") + f'["auth",{auth}]'
        connection = await served.application.connections.get()
        assert connection.id == json.loads(answer.removeprefix(prefix))["sid"]
        assert connection.id != connection.socket_id


@pytest.mark.parametrize("namespace", ["/random", "/custom?token=1", "/customs", "/CUSTOM"])
async def test_an_unknown_namespace_is_refused_and_the_socket_stays(namespace: str) -> None:
    async with serve() as served:
        socket = await served.session()
        socket.send("40" + namespace)
        assert await socket.text() == f'44{namespace},{{"message":"Invalid namespace"}}'
        socket.send("40")
        assert (await socket.text()).startswith('40{"sid"')


async def test_the_handshake_tells_who_asks() -> None:
    async with serve() as served:
        socket = await served.websocket(query="EIO=4&transport=websocket&device=phone&empty=")
        await socket.text()
        socket.send('40{"token":"t"}')
        await socket.text()
        (handshake,) = served.application.handshakes
        assert handshake.auth == {"token": "t"}
        assert handshake.remote_address == "127.0.0.1"
        assert handshake.origin is None
        assert handshake.query == {"EIO": "4", "transport": "websocket", "device": "phone", "empty": ""}


async def test_two_namespaces_on_one_socket() -> None:
    async with serve() as served:
        socket = await served.client()
        socket.send("40/custom")
        await socket.text()
        assert await socket.text() == '42/custom,["auth",{}]'
        socket.send('42/custom,["message","there"]')
        socket.send('42["message","here"]')
        assert await socket.text() == '42/custom,["message-back","there"]'
        assert await socket.text() == '42["message-back","here"]'
        first, second = [await served.application.connections.get() for _ in range(2)]
        assert first.socket_id == second.socket_id
        assert first.id != second.id
        assert served.engine.statistics()["connections"] == 2


async def test_leaving_one_namespace_keeps_the_other() -> None:
    async with serve() as served:
        socket = await served.client()
        socket.send("40/custom")
        await socket.text()
        await socket.text()
        socket.send("41/custom")
        socket.send('42["message","still here"]')
        assert await socket.text() == '42["message-back","still here"]'
        connection, reason = await served.application.ended.get()
        assert (connection.namespace, reason) == ("/custom", "client_disconnect")
        assert not connection.is_open
        connection.emit("nobody hears this")
        socket.send("40/custom,")
        assert (await socket.text()).startswith('40/custom,{"sid"')


async def test_leaving_the_last_namespace_keeps_the_socket_for_a_while() -> None:
    limits = EngineLimits(ping_interval_ms=100, connect_timeout_ms=500, cors_allowed_origins=EVERY_ORIGIN)
    async with serve(limits) as served:
        socket = await served.client()
        socket.send("41")
        assert await socket.text() == "2"
        assert await socket.closed() == Closed(STALE.close_code or 0, "stale")


@pytest.mark.parametrize("prelude", [[], ["40/random"]])
async def test_a_socket_that_connects_to_nothing_is_closed(prelude: list[str]) -> None:
    async with serve(EngineLimits(connect_timeout_ms=100)) as served:
        socket = await served.session()
        for packet in prelude:
            socket.send(packet)
        assert await socket.closed(1.0) == Closed(STALE.close_code or 0, "stale")


async def test_a_connected_socket_outlives_the_connect_timeout() -> None:
    async with serve(EngineLimits(connect_timeout_ms=50, ping_interval_ms=200)) as served:
        socket = await served.client()
        assert await socket.text() == "2"


@pytest.mark.parametrize(
    ("sent", "received"),
    [
        ('42["message",1,"2",{"3":[true]}]', '42["message-back",1,"2",{"3":[true]}]'),
        ('42["message"]', '42["message-back"]'),
        ('42456["message-with-ack",1,"2",{"3":[false]}]', '43456[1,"2",{"3":[false]}]'),
        ('420["message-with-ack"]', "430[]"),
        ('42["message",{"_placeholder":true,"num":0}]', '42["message-back",{"_placeholder":true,"num":0}]'),
        ('42["message","é\\u001e"]', '42["message-back","é\\u001e"]'),
    ],
)
async def test_events_and_acks(sent: str, received: str) -> None:
    async with serve() as served:
        socket = await served.client()
        socket.send(sent)
        assert await socket.text() == received


@pytest.mark.parametrize(("name", "told"), [("1", "1"), ("-7", "-7"), ("1.0", "1"), ("1.5", "1.5")])
async def test_an_event_may_be_named_by_a_number(name: str, told: str) -> None:
    async with serve() as served:
        socket = await served.client()
        socket.send(f"42[{name},true]")
        assert await served.application.events.get() == (told, [True])


@pytest.mark.parametrize(
    ("head", "answer"),
    [
        ('452-["message",{0},{1}]', '452-["message-back",{0},{1}]'),
        ('452-789["message-with-ack",{0},{1}]', "462-789[{0},{1}]"),
        ('452-["message",{{"b":[{1}],"a":{0}}}]', None),
    ],
)
async def test_binary_attachments(head: str, answer: str | None) -> None:
    holes = [f'{{"_placeholder":true,"num":{number}}}' for number in range(2)]
    async with serve() as served:
        socket = await served.client()
        socket.send(head.format(*holes))
        socket.send(b"\1\2\3")
        socket.send(b"\4\5\6")
        if answer is None:
            assert await served.application.events.get() == ("message", [{"b": [b"\4\5\6"], "a": b"\1\2\3"}])
        else:
            assert [await socket.receive() for _ in range(3)] == [answer.format(*holes), b"\1\2\3", b"\4\5\6"]


async def test_binary_attachments_over_polling() -> None:
    async with serve() as served:
        poller = served.poller()
        await poller.connect()
        await poller.post('451-["message",{"_placeholder":true,"num":0}]\x1ebAQID')
        assert await poller.get() == (200, '451-["message-back",{"_placeholder":true,"num":0}]\x1ebAQID')


async def test_acks_from_a_client_are_taken_and_ignored() -> None:
    async with serve() as served:
        socket = await served.client()
        socket.send('431["nobody asked"]')
        socket.send('461-2[{"_placeholder":true,"num":0}]')
        socket.send(b"\1")
        socket.send('42["message"]')
        assert await socket.text() == '42["message-back"]'


@pytest.mark.parametrize(
    "messages",
    [
        ["4"],
        ["4abc"],
        ["47"],
        ["42"],
        ["42{}"],
        ["42[]"],
        ['42["disconnect"]'],
        ["42[null]"],
        ['42abc["message-with-ack",1]'],
        ['42["message"'],
        ["43[]"],
        ["40"],
        ["40[]"],
        ["41{}"],
        ['41/custom,'],
        ['42/custom,["message"]'],
        ['42/custom["message"]'],
        ['44{"message":"mine"}'],
        [b"out of the blue"],
        ['451-["message",{"_placeholder":true,"num":0}]', "42[\"message\"]"],
        ['451-["message",{"_placeholder":true,"num":1}]', b"x"],
        ['45["message"]'],
        ['450-["message"]'],
        ['4511-["message"]'],
        ['452-["message",{"_placeholder":true,"num":0}]', b"x" * 60_000, b"x" * 60_000],
    ],
)  # fmt: skip
async def test_malformed_packets_close_the_socket_at_once(messages: list[str | bytes]) -> None:
    async with serve(EngineLimits(max_payload_bytes=100_000, cors_allowed_origins=EVERY_ORIGIN)) as served:
        socket = await served.client()
        for message in messages:
            socket.send(message)
        assert await socket.closed(AT_ONCE_S) == _VIOLATION
        connection, reason = await served.application.ended.get()
        assert reason == "protocol_error"
        assert not connection.is_open
        await served.is_empty()


@pytest.mark.parametrize("message", ["4abc", '42["message"]', "41", '430["x"]', "40[]"])
async def test_a_socket_must_connect_first(message: str) -> None:
    async with serve() as served:
        socket = await served.session()
        socket.send(message)
        assert await socket.closed(AT_ONCE_S) == _VIOLATION
        assert served.application.events.empty()
        assert served.application.ended.empty()


async def test_attachments_that_never_come_close_the_socket() -> None:
    async with serve(EngineLimits(connect_timeout_ms=100)) as served:
        socket = await served.client()
        socket.send('451-["message",{"_placeholder":true,"num":0}]')
        assert await socket.closed(1.0) == _VIOLATION


async def test_a_mistake_of_the_application_closes_only_that_socket(caplog: pytest.LogCaptureFixture) -> None:
    async with serve() as served:
        unlucky, other = await served.client(), await served.client()
        unlucky.send('42["fail"]')
        assert await unlucky.closed() == Closed(1011, "internal")
        assert "a mistake of the application" in caplog.text
        other.send('42["message","fine"]')
        assert await other.text() == '42["message-back","fine"]'
        assert served.engine.statistics()["application_errors"] == 1


async def test_events_of_one_socket_reach_the_application_in_order() -> None:
    async with serve() as served:
        socket = await served.client()
        for number in range(500):
            socket.send(f'42["count",{number}]')
        async with asyncio.timeout(5):
            assert [(await served.application.events.get())[1][0] for _ in range(500)] == list(range(500))


async def test_the_msgpack_parser() -> None:
    async with serve() as served:
        socket = await served.session("/socket.io-msgpack/")

        async def receive() -> dict[str, object]:
            message = await socket.receive()
            assert isinstance(message, bytes)
            body: dict[str, object] = msgpack.unpackb(message)
            return body

        socket.send(msgpack.packb({"type": 0, "nsp": "/custom", "data": {"t": b"\0"}}))
        answer = await receive()
        assert (answer["type"], answer["nsp"]) == (0, "/custom")
        assert await receive() == {"type": 2, "nsp": "/custom", "data": ["auth", {"t": b"\0"}]}
        event = {"type": 2, "nsp": "/custom", "data": ["message-with-ack", 1, b"x"], "id": 7, "options": {}}
        socket.send(msgpack.packb(event))
        assert await receive() == {"type": 3, "nsp": "/custom", "data": [1, b"x"], "id": 7}
        socket.send('42["text"]')
        message = await receive()
        assert message == {"type": 1, "nsp": "/custom"}
        assert await socket.closed() == _VIOLATION
