"""One host in a process of its own, without a cluster around it: what `HostActor` runs, on a MongoDB of the caller's.

Cases that look at a single host use it. The parent asks for the host's numbers through a pipe; `longest_stall_ms` is
the longest time since the last question in which the host's loop did not come round.
"""

import asyncio
import contextlib
import multiprocessing
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import psutil
import uvloop

from actors.limits import HostLimits
from cluster.kernel.clock import SystemClock
from cluster.link.pool import HostLinks
from cluster.run.host_parts import HostParts
from cluster.run.process import ProcessPlan
from cluster.run.secrets import Secrets
from cluster.run.settings import Settings
from storage.open import Storage, open_storage
from storage.settings import StorageSettings

SECRET = "benchmark " * 4
_TICK_S = 0.005


def plan_for(uri: str, database: str, limits: HostLimits) -> ProcessPlan:
    return ProcessPlan(
        name="host-0",
        kind="host",
        settings=Settings(actors=limits),
        secrets=Secrets(jwt_secret=SECRET, cluster_secret=SECRET),
        storage=StorageSettings(uri=uri, database=database),
        models_directory=Path(),
        logs_directory=Path(),
        port=0,
        link_host="127.0.0.1",
    )


def _serve(plan: ProcessPlan, pipe: Connection) -> None:
    with contextlib.suppress(KeyboardInterrupt):
        uvloop.run(_host(plan, pipe))


async def _host(plan: ProcessPlan, pipe: Connection) -> None:
    parts = HostParts(plan, "benchmark")
    await parts.start()
    stalls = [0.0]
    watch = asyncio.create_task(_watch(stalls))
    asked = asyncio.Event()
    asyncio.get_running_loop().add_reader(pipe.fileno(), asked.set)
    pipe.send({})
    while True:
        await asked.wait()
        asked.clear()
        if pipe.recv() == "stop":
            break
        pipe.send({**parts.statistics()["Host"], "longest_stall_ms": round(stalls[0] * 1000, 1)})
        stalls[0] = 0.0
    watch.cancel()
    await parts.stop()


async def _watch(stalls: list[float]) -> None:
    while True:
        started = time.perf_counter()
        await asyncio.sleep(_TICK_S)
        stalls[0] = max(stalls[0], time.perf_counter() - started - _TICK_S)


class HostProcess:
    def __init__(self, process: psutil.Process, pipe: Connection, links: HostLinks, storage: Storage) -> None:
        self._process = process
        self._pipe = pipe
        self.links = links
        self.storage = storage

    def resident_bytes(self) -> int:
        return int(self._process.memory_info().rss)

    async def statistics(self) -> dict[str, Any]:
        self._pipe.send("statistics")
        answer: dict[str, Any] = await asyncio.to_thread(self._pipe.recv)
        return answer


class _Connected:
    """Hears of the link; what the host pushes matters to none of these cases."""

    def __init__(self) -> None:
        self.is_connected = asyncio.Event()

    def host_connected(self, host: str) -> None:
        self.is_connected.set()

    def host_disconnected(self, host: str, reason: str) -> None: ...
    def host_pushed(self, host: str, topic: str, body: Any) -> None: ...


@asynccontextmanager
async def host_process(uri: str, database: str, limits: HostLimits) -> AsyncIterator[HostProcess]:
    """A running host, its storage, and a link to it."""
    plan = plan_for(uri, database, limits)
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=_serve, args=(plan, theirs))
    process.start()
    await asyncio.to_thread(ours.recv)
    storage = await open_storage(plan.storage, SystemClock())
    heard = _Connected()
    links = HostLinks(secret=SECRET.encode(), name="edge-0", incarnation="benchmark", listener=heard)
    view = await storage.view_store.load()
    assert view is not None
    links.apply(view)
    await heard.is_connected.wait()
    try:
        yield HostProcess(psutil.Process(process.pid), ours, links, storage)
    finally:
        await links.close()
        await storage.close()
        ours.send("stop")
        await asyncio.to_thread(process.join, 20)
        process.kill()
