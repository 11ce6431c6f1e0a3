"""A fleet over processes that a test pretends to have: they take names in a view in memory, hang, die and come back."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from types import SimpleNamespace
from typing import Any

from cluster.kernel.clock import SystemClock
from cluster.kernel.errors import DEADLINE_EXCEEDED, MOVED, UNAVAILABLE, FlowError
from cluster.kernel.tasks import TaskOwner
from cluster.placement.membership import held_by, take, withdraw
from cluster.placement.view import Member, View
from cluster.run.fleet import Fleet
from cluster.run.ray_runtime import RayActor
from cluster.run.settings import Settings, SupervisionSettings
from tests.support.view_store import MemoryViewStore

CLOCK = SystemClock()
SUPERVISION = SupervisionSettings(
    heartbeat_interval_s=0.02,
    heartbeat_timeout_s=0.02,
    missed_heartbeats=5,
    view_lease_s=0.05,
    view_poll_interval_s=0.02,
    start_timeout_s=20.0,
    restart_timeout_s=0.5,
    host_handover_s=0.1,
)
_lives = count(1)


@dataclass
class FakeProcess:
    """What `MemberProcess` is to the supervisor."""

    name: str
    kind: str
    store: MemoryViewStore
    node: str = "node-1"
    holds: str | None = None
    state: str = "starting"
    incarnation: str = ""
    restarts: bool = True
    is_dead: bool = False
    is_hung: bool = False
    calls: list[str] = field(default_factory=list)
    has_started: asyncio.Event = field(default_factory=asyncio.Event)
    may_take: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.may_take.set()

    async def start(self) -> None:
        """What a process does that Ray has just started."""
        self.incarnation = f"{next(_lives):08d}"
        self.is_dead = self.is_hung = False
        self.holds, self.state = None, "standby"
        mine = held_by(await self.store.load() or View(), self.name)
        if mine is not None:
            await self._become(mine.name, mine.incarnation)
        self.has_started.set()

    async def _become(self, name: str, instead_of: str | None) -> None:
        kind: Any = self.kind
        member = Member(name, kind, self.incarnation, "h:1", self.node, process=self.name)
        if await take(self.store, member, CLOCK, instead_of=instead_of) is not None:
            self.holds, self.state = name, "running"

    async def heartbeat(self) -> dict[str, Any]:
        return {
            "process": self.name,
            "kind": self.kind,
            "holds": self.holds,
            "state": self.state,
            "incarnation": self.incarnation,
            "machine": "elsewhere",
            "node": self.node,
            "error": None,
        }

    ready = heartbeat

    async def take(self, name: str, instead_of: str | None) -> dict[str, Any]:
        await self.may_take.wait()
        await self._become(name, instead_of)
        if self.holds is None:
            raise FlowError(MOVED)
        return await self.heartbeat()

    async def drain(self, seconds: float) -> None:
        view = await self.store.load()
        member = view.member(self.holds) if view is not None and self.holds else None
        assert member is not None
        assert member.state == "draining", "the view says so first"
        self.state = "draining"

    async def stop(self) -> None:
        assert self.holds is not None
        await withdraw(self.store, self.holds, CLOCK, incarnation=self.incarnation)

    async def look(self) -> None:
        """There is a newer view."""

    async def statistics(self) -> dict[str, Any]:
        return {}


class FakeRuntime:
    """A `RayRuntime` whose actors live in this process. `restarts` False: Ray brings nothing back in time.
    `is_stillborn`: what is made from now on ends before it is up."""

    def __init__(self, store: MemoryViewStore, tasks: TaskOwner, *, is_local: bool) -> None:
        self.is_local = is_local
        self.is_stillborn = False
        self.made = 0
        self.store = store
        self.processes: dict[str, FakeProcess] = {}
        self.node_ids = ["node-1"]
        self.restarts = True
        self._tasks = tasks

    def living(self) -> list[str]:
        return list(self.processes)

    def nodes(self) -> list[str]:
        return self.node_ids

    def create(
        self, name: str, actor_class: type[Any], plan: Any, node: str | None = None, *, restarts: bool = True
    ) -> RayActor:
        process = self.processes.get(name)
        if process is None:
            self.made += 1
            process = self.processes[name] = FakeProcess(name, plan.kind, self.store, node or self.node_ids[0])
            process.restarts, process.is_dead = restarts, self.is_stillborn
            if not self.is_stillborn:
                _ = self._tasks.start(f"start {name}", process.start())
        handle: Any = process
        return RayActor(name, handle)

    async def call(self, actor: RayActor, method: str, *arguments: Any, timeout_s: float) -> Any:
        process: Any = actor.handle
        await asyncio.sleep(0)
        if method == "ready":
            await process.has_started.wait()
        if process.is_hung:
            await asyncio.sleep(timeout_s)
            raise FlowError(DEADLINE_EXCEEDED)
        if process.is_dead or process.state == "starting":
            raise FlowError(UNAVAILABLE)
        process.calls.append(method)
        return await getattr(process, method)(*arguments)

    def kill(self, actor: RayActor, *, restart: bool) -> None:
        process: Any = actor.handle
        if restart:
            self.die(process.name)
        else:
            process.is_dead = True
            self.processes.pop(process.name, None)

    def die(self, name: str) -> None:
        process = self.processes[name]
        process.is_dead, process.is_hung = True, False
        if self.restarts and process.restarts:
            _ = self._tasks.start(f"restart {name}", process.start())


class FleetWorld:
    """The fleet, its processes and the view. `close` it."""

    def __init__(
        self, hosts: int = 2, edges: int = 1, standbys: int = 1, *, is_local: bool = True, calm_s: float = 0.2
    ) -> None:
        self.store = MemoryViewStore()
        self.tasks = TaskOwner("world", on_failure=self._failed)
        self.failures: list[BaseException] = []
        self.runtime = FakeRuntime(self.store, self.tasks, is_local=is_local)
        supervision = SUPERVISION.model_copy(update={"calm_s": calm_s})
        self.settings = Settings(hosts=hosts, edges=edges, standby_hosts=standbys, supervision=supervision)
        plan: Any = SimpleNamespace(
            settings=self.settings,
            process=lambda kind, number: SimpleNamespace(name=f"{kind}-process-{number}", kind=kind),
        )
        runtime: Any = self.runtime
        self.fleet = Fleet(plan, runtime, self.store, self.tasks)

    def _failed(self, name: str, error: BaseException) -> None:
        self.failures.append(error)

    async def start(self) -> "FleetWorld":
        await asyncio.gather(
            self.fleet.start("host", self.settings.hosts), self.fleet.start("edge", self.settings.edges)
        )
        _ = self.tasks.start("fleet", self.fleet.run())
        self.fleet.keep_standbys()
        await self.until_whole()
        return self

    def holder(self, name: str) -> FakeProcess:
        [process] = [one for one in self.runtime.processes.values() if one.holds == name and not one.is_dead]
        return process

    def is_whole(self) -> bool:
        live = [one for one in self.runtime.processes.values() if not one.is_dead and one.incarnation]
        held = sorted(one.holds for one in live if one.holds is not None)
        spare = [one.kind for one in live if one.holds is None]
        return (
            held == sorted(self.fleet.names())
            and all(member.is_held for member in self.fleet.members.values())
            and spare == ["host"] * self.settings.standby_hosts
        )

    async def until_whole(self) -> None:
        await self.until(self.is_whole)

    async def until(self, holds: Callable[[], bool]) -> None:
        """Wait until the fleet's looks have made it so."""
        async with asyncio.timeout(60):
            while not holds():
                await self.fleet.next_look()

    async def until_asked(self, process: FakeProcess, method: str) -> None:
        async with asyncio.timeout(60):
            while method not in process.calls:  # noqa: ASYNC110 - the fleet itself waits for the answer
                await asyncio.sleep(0)

    async def close(self) -> None:
        await self.tasks.stop()
        assert not self.failures
