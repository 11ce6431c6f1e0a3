"""Which pages may connect, and session ids of other edges."""

from collections.abc import Mapping

import pytest
from aiohttp import web

from realtime.engine.limits import EVERY_ORIGIN, EngineLimits
from tests.engine.harness import RawSocket, Served, serve

_FLOW = "https://flow.example"
_POLLING = "/socket.io/?EIO=4&transport=polling"
_WEBSOCKET = "/socket.io/?EIO=4&transport=websocket"


async def _websocket_status(served: Served, origin: str) -> int:
    socket = await RawSocket.open(served.port, _WEBSOCKET, extra=f"Origin: {origin}\r\n")
    served.sockets.append(socket)
    return socket.status


@pytest.mark.parametrize("origin", ["https://other.example", "http://127.0.0.1:1", "null", "https://[", ""])
async def test_by_default_only_the_servers_own_pages_connect(origin: str) -> None:
    async with serve(EngineLimits()) as served:
        async with served.http.get(served.url + _POLLING, headers={"Origin": origin}) as response:
            assert response.status == 403
            assert "Access-Control-Allow-Origin" not in response.headers
        assert await _websocket_status(served, origin) == 403
        assert served.engine.statistics()["sockets"] == 0


async def test_the_servers_own_pages_and_clients_that_are_no_pages_connect() -> None:
    async with serve(EngineLimits()) as served:
        async with served.http.get(served.url + _POLLING) as response:
            assert response.status == 200
        for origin in (served.url, served.url.replace("http:", "https:")):
            async with served.http.get(served.url + _POLLING, headers={"Origin": origin}) as response:
                assert response.status == 200
            assert await _websocket_status(served, origin) == 101


async def test_listed_pages_connect_and_others_do_not() -> None:
    async with serve(EngineLimits(cors_allowed_origins=frozenset({_FLOW}))) as served:
        async with served.http.get(served.url + _POLLING, headers={"Origin": _FLOW}) as response:
            assert response.status == 200
            assert response.headers["Access-Control-Allow-Origin"] == _FLOW
            assert response.headers["Access-Control-Allow-Credentials"] == "true"
            assert response.headers["Vary"] == "Origin"
        assert await _websocket_status(served, _FLOW) == 101
        assert await _websocket_status(served, _FLOW + ".evil.example") == 403


async def test_every_page_may_be_let_in_but_without_credentials() -> None:
    async with serve(EngineLimits(cors_allowed_origins=EVERY_ORIGIN)) as served:
        async with served.http.get(served.url + _POLLING, headers={"Origin": _FLOW}) as response:
            assert response.headers["Access-Control-Allow-Origin"] == "*"
            assert "Access-Control-Allow-Credentials" not in response.headers
        async with served.http.get(served.url + "/socket.io/", headers={"Origin": _FLOW}) as response:
            assert response.status == 400
            assert response.headers["Access-Control-Allow-Origin"] == "*"


async def test_preflight() -> None:
    async with serve(EngineLimits(cors_allowed_origins=frozenset({_FLOW}))) as served:
        headers = {"Origin": _FLOW, "Access-Control-Request-Headers": "authorization"}
        async with served.http.options(served.url + _POLLING, headers=headers) as response:
            assert response.status == 204
            assert response.headers["Access-Control-Allow-Headers"] == "authorization"
            assert response.headers["Access-Control-Allow-Methods"] == "GET, POST"
        async with served.http.options(served.url + _POLLING, headers={"Origin": "https://other"}) as response:
            assert response.status == 403


async def test_requests_for_another_edges_session_are_passed_on() -> None:
    asked: list[tuple[str, str]] = []

    async def foreign(sid: str, request: web.Request, headers: Mapping[str, str]) -> web.StreamResponse | None:
        asked.append((sid, request.method))
        return web.Response(text="from the other edge") if sid.startswith("edge2.") else None

    async with serve(session_prefix="edge1.", foreign_session=foreign) as served:
        poller = served.poller()
        await poller.open()
        assert poller.sid.startswith("edge1.")
        stranger = served.poller()
        stranger.sid = "edge2.abc"
        assert await stranger.get() == (200, "from the other edge")
        assert await stranger.post("4x") == (200, "from the other edge")
        stranger.sid = "edge3.abc"
        assert (await stranger.get())[0] == 400
        stranger.sid = "edge1.gone"
        assert (await stranger.get())[0] == 400
        stranger.sid = "x" * 500
        assert (await stranger.get())[0] == 400
        assert asked == [("edge2.abc", "GET"), ("edge2.abc", "POST"), ("edge3.abc", "GET")]
