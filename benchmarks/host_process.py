"""One host in a process of its own, without a cluster around it: real rules, storage and link, on the caller's MongoDB.

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
from typing import Any

import psutil
import uvloop

from actors.host import Host
from actors.limits import HostLimits
from actors.ports import HostPorts
from cluster.kernel.clock import SystemClock
from cluster.kernel.collector import QuietCollector
from cluster.kernel.tasks import TaskOwner
from cluster.link.pool import HostLinks
from cluster.link.server import LinkServer
from cluster.placement.view import Member, View
from cluster.run.event_reader import StoredEvents
from storage.open import open_storage
from storage.settings import StorageSettings

SECRET = b"benchmark " * 4
NAME, INCARNATION = "host-0", "benchmark"
_TICK_S = 0.005


def _serve(settings: StorageSettings, limits: HostLimits, pipe: Connection) -> None:
    with contextlib.suppress(KeyboardInterrupt):
        uvloop.run(_host(settings, limits, pipe))


async def _host(settings: StorageSettings, limits: HostLimits, pipe: Connection) -> None:
    clock, tasks = SystemClock(), TaskOwner(NAME)
    storage = await open_storage(settings, clock)
    ports = HostPorts(
        storage.chat_log,
        storage.memberships,
        storage.rsvps,
        storage.notifications,
        storage.users,
        StoredEvents(storage.events),
    )
    host = Host(NAME, INCARNATION, ports, limits, clock, tasks)
    server = LinkServer(secret=SECRET, name=NAME, incarnation=INCARNATION, service=host)
    address, port = await server.start("127.0.0.1")
    view = View(1, (Member(NAME, "host", INCARNATION, f"{address}:{port}", "node"),))
    host.start()
    host.apply_view(view)
    collector = asyncio.create_task(QuietCollector(clock).run())
    stalls = [0.0]
    watch = asyncio.create_task(_watch(stalls))
    asked = asyncio.Event()
    asyncio.get_running_loop().add_reader(pipe.fileno(), asked.set)
    pipe.send(view)
    while True:
        await asked.wait()
        asked.clear()
        if pipe.recv() == "stop":
            break
        pipe.send({**host.statistics(), "longest_stall_ms": round(stalls[0] * 1000, 1)})
        stalls[0] = 0.0
    watch.cancel()
    collector.cancel()
    await server.stop()
    await host.stop()
    await storage.close()


async def _watch(stalls: list[float]) -> None:
    while True:
        started = time.perf_counter()
        await asyncio.sleep(_TICK_S)
        stalls[0] = max(stalls[0], time.perf_counter() - started - _TICK_S)


class HostProcess:
    def __init__(self, process: psutil.Process, pipe: Connection, links: HostLinks) -> None:
        self._process = process
        self._pipe = pipe
        self.links = links

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
    """A running host and a link to it."""
    settings = StorageSettings(uri=uri, database=database)
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=_serve, args=(settings, limits, theirs))
    process.start()
    theirs.close()
    view = await asyncio.to_thread(ours.recv)
    heard = _Connected()
    links = HostLinks(secret=SECRET, name="edge-0", incarnation="benchmark", listener=heard)
    links.apply(view)
    await heard.is_connected.wait()
    try:
        yield HostProcess(psutil.Process(process.pid), ours, links)
    finally:
        await links.close()
        ours.send("stop")
        await asyncio.to_thread(process.join, 20)
        process.kill()
