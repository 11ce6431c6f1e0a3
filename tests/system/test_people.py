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


@pytest.mark.parametrize("turns", range(4))
async def test_a_person_can_leave_in_the_turn_in_which_her_connection_is_lost(
    flow: tuple[FlowProcess, web.AppRunner], turns: int
) -> None:
    async def is_lost() -> None:
        for _ in range(turns):
            await asyncio.sleep(0)
        await person.socket._handle_eio_disconnect("transport error")

    person = Person(flow[0], "ada", "token", "1")
    await person.connect("/chat")
    lost = asyncio.create_task(is_lost())
    await person.close()
    await lost
    assert not [task for task in asyncio.all_tasks() if "AsyncClient" in task.get_coro().__qualname__]
