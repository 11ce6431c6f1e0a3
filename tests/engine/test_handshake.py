"""Engine.IO v4, handshake: what opens a session, and every request that does not."""

import json

import pytest

from cluster.kernel.errors import SETTINGS_INVALID, FlowError
from realtime.engine.limits import EVERY_ORIGIN, EngineLimits
from tests.engine.harness import RawSocket, eventually, serve

_PATHS = ["/engine.io/", "/socket.io/", "/socket.io-msgpack/"]
_OWN_NUMBERS = EngineLimits(ping_interval_ms=300, ping_timeout_ms=200, max_payload_bytes=12_345)


@pytest.mark.parametrize("path", _PATHS)
async def test_polling_opens_a_session(path: str) -> None:
    async with serve(_OWN_NUMBERS, session_prefix="edge7.") as served:
        async with served.http.get(served.url + path, params={"EIO": "4", "transport": "polling"}) as response:
            assert response.status == 200
            assert response.headers["Content-Type"] == "text/plain; charset=UTF-8"
            assert response.headers["Cache-Control"] == "no-store"
            body = await response.text()
        opening = json.loads(body.removeprefix("0"))
        assert opening.pop("sid").startswith("edge7.")
        assert opening == {"upgrades": ["websocket"], "pingInterval": 300, "pingTimeout": 200, "maxPayload": 12_345}


@pytest.mark.parametrize("path", _PATHS)
async def test_a_websocket_opens_a_session(path: str) -> None:
    async with serve(_OWN_NUMBERS, session_prefix="edge7.") as served:
        socket = await served.websocket(path)
        opening = json.loads((await socket.text()).removeprefix("0"))
        assert opening.pop("sid").startswith("edge7.")
        assert opening == {"upgrades": [], "pingInterval": 300, "pingTimeout": 200, "maxPayload": 12_345}


async def test_ids_are_unique_and_long_enough_not_to_be_guessed() -> None:
    async with serve() as served:
        ids = set()
        for _ in range(50):
            poller = served.poller()
            await poller.open()
            ids.add(poller.sid)
        assert len(ids) == 50
        assert min(map(len, ids)) >= 20


@pytest.mark.parametrize(
    ("method", "query", "status", "code"),
    [
        ("GET", "transport=polling", 400, 5),
        ("GET", "EIO=abc&transport=polling", 400, 5),
        ("GET", "EIO=3&transport=polling", 400, 5),
        ("GET", "EIO=4", 400, 0),
        ("GET", "EIO=4&transport=abc", 400, 0),
        ("GET", "EIO=4&transport=constructor", 400, 0),
        ("GET", "EIO=4&transport=websocket", 400, 3),
        ("POST", "EIO=4&transport=polling", 400, 2),
        ("PUT", "EIO=4&transport=polling", 400, 2),
        ("DELETE", "EIO=4&transport=polling", 400, 2),
        ("GET", "EIO=4&transport=polling&sid=nobody", 400, 1),
        ("POST", "EIO=4&transport=polling&sid=nobody", 400, 1),
    ],
)
@pytest.mark.parametrize("path", _PATHS[:2])
async def test_requests_that_open_nothing(path: str, method: str, query: str, status: int, code: int) -> None:
    async with serve() as served:
        async with served.http.request(method, f"{served.url}{path}?{query}") as response:
            assert (response.status, (await response.json())["code"]) == (status, code)
        assert served.engine.statistics()["sockets"] == 0


@pytest.mark.parametrize(
    "query",
    ["transport=websocket", "EIO=abc&transport=websocket", "EIO=4", "EIO=4&transport=abc", "EIO=4&transport=polling",
     "EIO=4&transport=websocket&sid=nobody"],
)  # fmt: skip
async def test_websockets_that_open_nothing(query: str) -> None:
    async with serve() as served:
        socket = await served.websocket("/engine.io/", query)
        assert socket.status == 400
        assert served.engine.statistics()["sockets"] == 0


@pytest.mark.parametrize(
    "header",
    ["Sec-WebSocket-Version: 12\r\n", "Connection: keep-alive\r\n", "Upgrade: h2c\r\n", "Sec-WebSocket-Key: short\r\n"],
)
async def test_a_broken_websocket_handshake_is_refused(header: str) -> None:
    name, _, _ = header.partition(":")
    async with serve() as served:
        fields = {
            "Connection": "Upgrade",
            "Upgrade": "websocket",
            "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
        }
        fields[name] = header.partition(": ")[2].strip()
        url = f"{served.url}/engine.io/?EIO=4&transport=websocket"
        async with served.http.get(url, headers=fields) as response:
            assert response.status == 400


async def test_no_extension_is_ever_accepted() -> None:
    async with serve() as served:
        target = "/engine.io/?EIO=4&transport=websocket"
        socket = await RawSocket.open(served.port, target, extra="Sec-WebSocket-Extensions: permessage-deflate\r\n")
        served.sockets.append(socket)
        assert socket.status == 101
        assert "extensions" not in socket.head.lower()


async def test_what_a_client_sends_before_the_answer_is_read_all_the_same() -> None:
    async with serve() as served:
        early = bytes([0x81, 0x86]) + b"\0\0\0\0" + b"4early"
        socket = await RawSocket.open(served.port, "/engine.io/?EIO=4&transport=websocket", after=early)
        served.sockets.append(socket)
        assert (await socket.text()).startswith("0{")
        assert await socket.text() == "4early"


async def test_a_session_belongs_to_the_path_that_opened_it() -> None:
    async with serve() as served:
        poller = served.poller("/socket.io/")
        await poller.open()
        elsewhere = served.poller("/engine.io/")
        elsewhere.sid = poller.sid
        assert (await elsewhere.get())[0] == 400


async def test_a_full_engine_refuses_new_sessions_and_serves_the_old() -> None:
    async with serve(EngineLimits(max_sockets=1, cors_allowed_origins=EVERY_ORIGIN)) as served:
        socket = await served.session("/engine.io/")
        with pytest.raises(AssertionError):
            await served.poller().open()
        assert (await served.websocket()).status == 503
        socket.send("4still here")
        assert await socket.text() == "4still here"
        socket.send("1")
        await socket.closed()
        await served.is_empty()
        await served.poller().open()


async def test_a_websocket_leaves_nothing_to_aiohttp() -> None:
    async with serve() as served:
        for _ in range(20):
            await served.session()
        server = served.runner.server
        assert server is not None
        await eventually(lambda: server.connections == [])
        assert served.engine.statistics()["sockets"] == 20


def test_limits_that_cannot_be_used_are_refused() -> None:
    with pytest.raises(FlowError, match="ping_interval_ms") as caught:
        EngineLimits(ping_interval_ms=0)
    assert caught.value.kind is SETTINGS_INVALID


class _Door:
    """Lets in one, then says when to come back."""

    def __init__(self) -> None:
        self.came = 0

    def address(self, peer: str, forwarded_for: str) -> str:
        return forwarded_for or "nobody"

    def wait_s(self) -> float:
        self.came += 1
        return 0.0 if self.came == 1 else 1.2


async def test_the_door_is_asked_before_a_session_is_made_and_says_when_to_come_back() -> None:
    async with serve(door=_Door()) as served:
        socket = await served.websocket()
        assert (await socket.text()).startswith("0{")
        second = await served.websocket()
        assert second.status == 503
        assert "Retry-After: 2\r\n" in second.head
        async with served.http.get(served.poller().target) as answer:
            assert (answer.status, answer.headers["Retry-After"]) == (503, "2")
        assert served.engine.statistics()["sockets_opened"] == 1
        socket.send("40")
        assert (await socket.text()).startswith('40{"sid":')
        assert served.application.handshakes[0].remote_address == "nobody"
