"""Faults carried out on a running cluster, and healed again.

A fault that lasts is healed by itself; `heal_all` waits for that and then puts everything back that a fault changed.
What a fault is aimed at is taken among what there is at that moment, in the order of names.
"""

import asyncio
import contextlib
import os
import signal
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any, Final

import psutil

from cluster.kernel.errors import FlowError
from tests.chaos.cluster import Cluster
from tests.chaos.options import Options
from tests.chaos.relays import LinkRelays
from tests.chaos.schedule import Fault

_MOST_EXTRA: Final = 1
_LEAST_HOSTS: Final = 2
_ZOMBIE_S: Final = 2.0
_UNHEARD_S: Final = 0.7
"""So long edges go on sending to a host that stands still: what it then decides as an owner that is none any more."""


class Faults:
    """`inject` one; `counts` are those that hit something."""

    def __init__(self, cluster: Cluster, relays: LinkRelays, options: Options, say: Callable[[str], None]) -> None:
        self._cluster = cluster
        self._relays = relays
        self._say = say
        self._wanted = (options.hosts, options.edges)
        self._hosts, self._edges = options.hosts, options.edges
        self._healing: set[asyncio.Task[None]] = set()
        self._one_command = asyncio.Lock()
        self.counts: Counter[str] = Counter()
        self.skipped: Counter[str] = Counter()
        self.failed_commands: list[str] = []
        self._ways: dict[str, Callable[[Fault], Awaitable[str | None]]] = {
            "kill_host": lambda fault: self._kill_member("host", fault),
            "kill_edge": lambda fault: self._kill_member("edge", fault),
            "kill_replica": self._kill_replica,
            "stop_host": lambda fault: self._stop_member("host", fault),
            "pause_host": lambda fault: self._stop_member("host", fault),
            "pause_edge": lambda fault: self._stop_member("edge", fault),
            "kill_mongod": lambda fault: self._kill_embedded("MongoDB"),
            "pause_mongod": self._pause_mongod,
            "kill_redis": lambda fault: self._kill_embedded("Redis"),
            "kill_fork_server": lambda fault: self._kill_embedded("Fork server"),
            "kill_host_unwritten": self._kill_host_unwritten,
            "cut_link": self._cut,
            "mute_edges": lambda fault: self._mute(fault, to_host=True),
            "mute_host": lambda fault: self._mute(fault, to_host=False),
            "evict_host": self._evict,
            "zombie_host": self._make_zombie,
            "scale_up": lambda fault: self._scale(+1),
            "scale_down": lambda fault: self._scale(-1),
            "drain_host": lambda fault: self._drain("host", fault),
            "drain_edge": lambda fault: self._drain("edge", fault),
        }

    async def inject(self, fault: Fault) -> None:
        """Carry it out and say what it hit. Nothing happens, loudly, when there is nothing to hit."""
        try:
            hit = await self._ways[fault.kind](fault)
        except (FlowError, psutil.NoSuchProcess, ProcessLookupError, KeyError) as error:
            hit = None
            self._say(f"{fault}: {type(error).__name__} {error}")
        if hit is None:
            self.skipped[fault.kind] += 1
            self._say(f"{fault}: there was nothing to hit")
        else:
            self.counts[fault.kind] += 1
            self._say(f"{fault}: {hit}")

    async def heal_all(self) -> None:
        while self._healing:
            await asyncio.gather(*self._healing, return_exceptions=True)
        for name in self._relays.names():
            self._relays.heal(name)
        if (self._hosts, self._edges) != self._wanted:
            self._hosts, self._edges = self._wanted
            await self._command("scale", f"hosts={self._hosts}", f"edges={self._edges}")

    def _later(self, after_s: float, heal: Callable[[], Awaitable[None]]) -> None:
        async def wait() -> None:
            await asyncio.sleep(after_s)
            await heal()

        task = asyncio.create_task(wait())
        self._healing.add(task)
        task.add_done_callback(self._healed)

    def _healed(self, task: asyncio.Task[None]) -> None:
        self._healing.discard(task)
        if not task.cancelled() and task.exception() is not None:
            self._say(f"a fault did not heal: {task.exception()!r}")

    # --- processes ----------------------------------------------------------------------------------------------------

    async def _one(self, kind: str, fault: Fault) -> tuple[str, psutil.Process] | None:
        members = await self._cluster.members(kind)
        if not members:
            return None
        member = members[fault.pick % len(members)]
        return str(member["name"]), psutil.Process(int(member["pid"]))

    async def _kill_member(self, kind: str, fault: Fault) -> str | None:
        found = await self._one(kind, fault)
        if found is None:
            return None
        name, process = found
        process.kill()
        return f"{name} ({process.pid})"

    async def _stop_member(self, kind: str, fault: Fault) -> str | None:
        found = await self._one(kind, fault)
        if found is None:
            return None
        name, process = found
        process.send_signal(signal.SIGSTOP)

        async def go_on() -> None:
            try:
                process.send_signal(signal.SIGCONT)
            except psutil.NoSuchProcess:
                self._say(f"         {name} ({process.pid}) was replaced while it stood still")
            else:
                self._say(f"         {name} ({process.pid}) goes on")

        self._later(fault.lasts, go_on)
        return f"{name} ({process.pid})"

    async def _kill_replica(self, fault: Fault) -> str | None:
        rows: list[dict[str, Any]] = (await self._cluster.status())["processes"]
        replicas = sorted(row["pid"] for row in rows if row["name"].startswith("ray::ServeReplica"))
        if not replicas:
            return None
        pid = replicas[fault.pick % len(replicas)]
        os.kill(pid, signal.SIGKILL)
        return f"process {pid}"

    async def _embedded(self, name: str) -> psutil.Process | None:
        server = (await self._cluster.status())["embedded"][name]
        return psutil.Process(server["pid"]) if server["alive"] else None

    async def _kill_embedded(self, name: str) -> str | None:
        process = await self._embedded(name)
        if process is None:
            return None
        process.kill()
        return f"process {process.pid}"

    async def _pause_mongod(self, fault: Fault) -> str | None:
        process = await self._embedded("MongoDB")
        if process is None:
            return None
        process.send_signal(signal.SIGSTOP)

        async def go_on() -> None:
            process.send_signal(signal.SIGCONT)

        self._later(fault.lasts, go_on)
        return f"process {process.pid}"

    async def _kill_host_unwritten(self, fault: Fault) -> str | None:
        """Whatever the host acked while nothing could be written is lost with it."""
        mongod, found = await self._embedded("MongoDB"), await self._one("host", fault)
        if mongod is None or found is None:
            return None
        name, host = found
        mongod.send_signal(signal.SIGSTOP)

        async def go_on() -> None:
            try:
                host.kill()
            finally:
                mongod.send_signal(signal.SIGCONT)

        self._later(fault.lasts, go_on)
        return f"{name} ({host.pid})"

    # --- links --------------------------------------------------------------------------------------------------------

    def _host(self, fault: Fault) -> str | None:
        names = self._relays.names()
        return names[fault.pick % len(names)] if names else None

    async def _cut(self, fault: Fault) -> str | None:
        name = self._host(fault)
        if name is not None:
            self._relays.cut(name)
            self._heal_link(name, fault)
        return name

    async def _mute(self, fault: Fault, *, to_host: bool) -> str | None:
        name = self._host(fault)
        if name is not None:
            self._relays.mute(name, to_host=to_host)
            self._heal_link(name, fault)
        return name

    def _heal_link(self, name: str, fault: Fault) -> None:
        async def heal() -> None:
            self._relays.heal(name)

        self._later(fault.lasts, heal)

    async def _evict(self, fault: Fault) -> str | None:
        name = self._host(fault)
        if name is None or not await self._relays.evict(name):
            return None
        self._later(fault.lasts, lambda: self._relays.readmit(name))
        return name

    async def _make_zombie(self, fault: Fault) -> str | None:
        """It goes on with what it was sent before it stood still, and does not know yet that it owns nothing."""
        found = await self._one("host", fault)
        if found is None:
            return None
        name, process = found
        process.send_signal(signal.SIGSTOP)
        await asyncio.sleep(_UNHEARD_S)
        try:
            is_evicted = await self._relays.evict(name)
        except FlowError:
            process.send_signal(signal.SIGCONT)
            raise

        async def go_on() -> None:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGCONT)
            if is_evicted:
                await asyncio.sleep(_ZOMBIE_S)
                await self._relays.readmit(name)

        self._later(fault.lasts - _UNHEARD_S, go_on)
        return f"{name} ({process.pid})" if is_evicted else None

    # --- the operator -------------------------------------------------------------------------------------------------

    async def _scale(self, change: int) -> str | None:
        hosts = max(_LEAST_HOSTS, min(self._hosts + change, self._wanted[0] + _MOST_EXTRA))
        edges = max(1, min(self._edges + change, self._wanted[1] + _MOST_EXTRA))
        if (hosts, edges) == (self._hosts, self._edges):
            return None
        self._hosts, self._edges = hosts, edges
        self._later(0, lambda: self._command("scale", f"hosts={hosts}", f"edges={edges}"))
        return f"hosts={hosts} edges={edges}"

    async def _drain(self, kind: str, fault: Fault) -> str | None:
        members = await self._cluster.members(kind)
        least = _LEAST_HOSTS if kind == "host" else 2
        if len(members) < least:
            return None
        name = str(members[fault.pick % len(members)]["name"])
        if kind == "host":
            self._hosts = len(members) - 1
        else:
            self._edges = len(members) - 1
        self._later(0, lambda: self._command("drain", name))
        return name

    async def _command(self, *words: str) -> None:
        async with self._one_command:
            code, said = await self._cluster.command(*words, "--json")
        if code != 0:
            self.failed_commands.append(f"flow {' '.join(words)} exited {code}: {said.strip()[-300:]}")
            self._say(f"         {self.failed_commands[-1]}")
        else:
            self._say(f"         flow {' '.join(words)} is done")
