"""The conformance server as a conformance suite meets it: a process of its own, with the numbers it was given."""

import asyncio
import json
import signal
import socket
import sys
from pathlib import Path

import aiohttp
import pytest

from tests.engine.harness import PATIENCE_S, RawSocket

_ROOT = Path(__file__).parent.parent.parent


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


async def _opening(port: int, path: str) -> RawSocket:
    async with asyncio.timeout(PATIENCE_S * 4):
        while True:
            try:
                return await RawSocket.open(port, f"{path}?EIO=4&transport=websocket")
            except ConnectionError:
                await asyncio.sleep(0.05)


async def test_it_serves_both_protocols_with_the_given_numbers_and_stops_when_told() -> None:
    port = _free_port()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "realtime.engine.conformance", "--host", "127.0.0.1", "--port", str(port),
        "--ping-interval", "200", "--ping-timeout", "150", "--max-payload", "5000", "--connect-timeout", "700",
        cwd=_ROOT, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    try:
        engine_io = await _opening(port, "/engine.io/")
        opening = json.loads((await engine_io.text())[1:])
        assert (opening["pingInterval"], opening["pingTimeout"], opening["maxPayload"]) == (200, 150, 5000)
        engine_io.send("4hello")
        assert await engine_io.text() == "4hello"

        socket_io = await _opening(port, "/socket.io/")
        await socket_io.text()
        socket_io.send('40/custom,{"token":"abc"}')
        assert (await socket_io.text()).startswith('40/custom,{"sid"')
        assert await socket_io.text() == '42/custom,["auth",{"token":"abc"}]'
        socket_io.send('42/custom,1["message-with-ack",1,"2"]')
        assert await socket_io.text() == '43/custom,1[1,"2"]'

        url = f"http://127.0.0.1:{port}/socket.io/?EIO=4&transport=polling"
        async with aiohttp.ClientSession() as http, http.get(url, headers={"Origin": "https://any.example"}) as answer:
            assert answer.headers["Access-Control-Allow-Origin"] == "*"
        engine_io.abort()
        socket_io.abort()
        process.send_signal(signal.SIGINT)
        async with asyncio.timeout(PATIENCE_S * 2):
            assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def _started(*, ignoring: bool) -> tuple[asyncio.subprocess.Process, int]:
    """`ignoring`: as a shell starts what it runs in the background, SIGINT ignored."""
    port = _free_port()

    def ignore() -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)

    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "realtime.engine.conformance", "--host", "127.0.0.1", "--port", str(port),
        "--ping-interval", "60000", "--ping-timeout", "60000",
        cwd=_ROOT, stderr=asyncio.subprocess.DEVNULL, preexec_fn=ignore if ignoring else None,
    )  # fmt: skip
    return process, port


@pytest.mark.parametrize(("number", "ignoring"), [(signal.SIGINT, True), (signal.SIGTERM, False)])
async def test_it_stops_when_told_whoever_started_it_and_whoever_is_there(
    number: signal.Signals, ignoring: bool
) -> None:
    process, port = await _started(ignoring=ignoring)
    try:
        socket = await _opening(port, "/socket.io/")
        _ = await socket.text()
        url = f"http://127.0.0.1:{port}/engine.io/?EIO=4&transport=polling"
        async with aiohttp.ClientSession() as http:
            async with http.get(url) as answer:
                sid = json.loads((await answer.text())[1:])["sid"]
            poll = asyncio.ensure_future(http.get(f"{url}&sid={sid}"))
            idle, writer = await asyncio.open_connection("127.0.0.1", port)
            await asyncio.sleep(0)
            process.send_signal(number)
            async with asyncio.timeout(PATIENCE_S * 4):
                assert await process.wait() == 0
                assert await idle.read() == b""
            (await asyncio.gather(poll, return_exceptions=True))[0]
            writer.close()
        socket.abort()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
