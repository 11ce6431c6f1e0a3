"""The door to Ray's dashboard: adds the token, for the same user on this machine alone."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator

import aiohttp
import pytest
from aiohttp import web

from cluster.kernel.errors import PORT_IN_USE, FlowError
from cluster.run.dashboard_gate import DashboardGate, owner_of
from cluster.run.public_port import free_port


@pytest.fixture
async def gate() -> AsyncIterator[str]:
    """The gate's address, before a dashboard that says what it was asked."""

    async def echo(request: web.Request) -> web.Response:
        if request.headers.get("Authorization") != "Bearer secret":
            return web.Response(status=401)
        body = (await request.read()).decode()
        return web.json_response({"method": request.method, "path": str(request.rel_url), "body": body}, status=203)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", echo)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = free_port()
    target = f"http://127.0.0.1:{runner.addresses[0][1]}"
    made = DashboardGate(port, target, lambda: {"Authorization": "Bearer secret"})
    await made.start()
    yield f"http://127.0.0.1:{port}"
    await made.stop()
    await runner.cleanup()


async def test_a_request_passes_whole_and_with_the_token(gate: str) -> None:
    async with aiohttp.ClientSession() as client:
        request = client.put(f"{gate}/api/serve/applications/?a=b%20c", data=b"x" * 100_000)
        async with request as answer:
            assert answer.status == 203
            told = await answer.json()
    assert told == {"method": "PUT", "path": "/api/serve/applications/?a=b%20c", "body": "x" * 100_000}


@pytest.mark.parametrize("headers", [{"Host": "evil.example"}, {"Origin": "http://evil.example"}, {"Origin": "null"}])
async def test_pages_from_elsewhere_are_turned_away(gate: str, headers: dict[str, str]) -> None:
    async with aiohttp.ClientSession() as client, client.get(gate, headers=headers) as answer:
        assert answer.status == 403


async def test_its_own_page_may_ask(gate: str) -> None:
    async with aiohttp.ClientSession() as client, client.get(gate, headers={"Origin": gate}) as answer:
        assert answer.status == 203


async def test_a_dashboard_that_is_away_is_said() -> None:
    port = free_port()
    alone = DashboardGate(port, f"http://127.0.0.1:{free_port()}", dict)
    await alone.start()
    try:
        async with aiohttp.ClientSession() as client, client.get(f"http://127.0.0.1:{port}/") as answer:
            assert answer.status == 502
        second = DashboardGate(port, "http://127.0.0.1:1", dict)
        with pytest.raises(FlowError) as caught:
            await second.start()
        assert caught.value.kind is PORT_IN_USE
    finally:
        await alone.stop()


async def test_whose_connection_it_is_comes_from_the_kernel() -> None:
    server = await asyncio.start_server(lambda _reader, writer: writer.close(), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    with socket.create_connection(("127.0.0.1", port)) as client:
        mine = client.getsockname()[1]
        assert owner_of(mine, port) == os.getuid()
        assert owner_of(mine, port + 1) is None
    server.close()
    await server.wait_closed()
