"""The people of the system tests leave nothing behind, whatever became of their edge."""

import asyncio
import gc
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import socketio
from aiohttp import web

from tests.support.flow_process import FlowProcess, Person


@pytest.fixture
async def flow(tmp_path: Path) -> AsyncIterator[tuple[FlowProcess, web.AppRunner]]:
    """A Socket.IO server where an installation would be, and what ends it."""
    flow = FlowProcess(tmp_path)
    server, app = socketio.AsyncServer(async_mode="aiohttp", namespaces="*"), web.Application()
    server.attach(app)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", flow.port).start()
    yield flow, runner
    await server.shutdown()
    await runner.cleanup()


@pytest.mark.parametrize("attempts", [0, 1, 2])
async def test_a_person_whose_server_went_away_can_leave(
    flow: tuple[FlowProcess, web.AppRunner], attempts: int
) -> None:
    installation, runner = flow
    person = Person(installation, "ada", "token", "1")
    failed = asyncio.Semaphore(0)
    person.socket.on("connect_error", lambda *_: failed.release(), namespace="/chat")
    await person.connect("/chat")
    gone = asyncio.Event()
    person.socket.on("disconnect", lambda *_: gone.set(), namespace="/chat")
    await runner.cleanup()
    await gone.wait()
    for _ in range(attempts):
        await failed.acquire()
    await person.close()
    assert not [task for task in asyncio.all_tasks() if "AsyncClient" in task.get_coro().__qualname__]
    del person
    gc.collect()  # an open session would warn here
