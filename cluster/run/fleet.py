"""The fleet: which hosts and edges there are to be, the processes that hold their names, and how both change.

The supervisor makes one and keeps `run` going. A member is a name (`host-1`) that must be held; a process (an actor of
Ray) holds it or stands by. When a holder dies a standby takes its name within milliseconds, so that no shard moves; a
new spare is made later, when things are calm. Edges have no standbys, and members of a Ray that outlives the supervisor
must heal without it: those Ray starts again itself. The cluster's view decides who holds a name, by compare-and-set, so
it does not matter who is first: the fleet with a standby, or Ray with the old process. Everything here is a wish; the
facts come from heartbeats.
"""

import asyncio
import logging
import math
import time
from dataclasses import dataclass
from typing import Any

from cluster.kernel.clock import SystemClock
from cluster.kernel.errors import MOVED, START_FAILED, FlowError
from cluster.kernel.tasks import TaskOwner
from cluster.placement.membership import ViewStore
from cluster.placement.view import View
from cluster.run.edge_actor import EdgeActor
from cluster.run.fleet_plan import (
    KINDS,
    Fill,
    Kind,
    KnownProcess,
    Make,
    Retire,
    Step,
    WantedMember,
    emptiest,
    next_steps,
)
from cluster.run.host_actor import HostActor
from cluster.run.plan import Plan
from cluster.run.ray_runtime import RayRuntime
from cluster.run.watched_process import WatchedProcess

_log = logging.getLogger("flow.supervisor")

_ACTORS = {"host": HostActor, "edge": EdgeActor}
_LOOK_AGAIN_S = 0.5


@dataclass(slots=True)
class FleetMember:
    """One name. `holder` is the process that last had it; `lives` counts the incarnations seen."""

    name: str
    kind: Kind
    holder: WatchedProcess | None = None
    incarnation: str | None = None
    lives: int = 0
    silent_since: float | None = None
    is_leaving: bool = False

    @property
    def is_held(self) -> bool:
        return self.holder is not None and self.holder.holds == self.name


class Fleet:
    """`store` keeps the cluster's view; `tasks` own the heartbeats of the processes."""

    def __init__(self, plan: Plan, runtime: RayRuntime, store: ViewStore, tasks: TaskOwner) -> None:
        self.plan = plan
        self.store = store
        self.clock = SystemClock()
        self._runtime = runtime
        self._tasks = tasks
        self._settings = plan.settings.supervision
        self._standbys: dict[Kind, int] = {"host": 0, "edge": 0}
        self.members: dict[str, FleetMember] = {}
        self._processes: dict[str, WatchedProcess] = {}
        self._numbers: dict[Kind, int] = {"host": 0, "edge": 0}
        self._lost_at = -math.inf
        self._wake = asyncio.Event()
        self._filling: set[str] = set()
        self._waiting: list[asyncio.Future[None]] = []

    # --- the start ----------------------------------------------------------------------------------------------------

    async def start(self, kind: Kind, count: int) -> list[str]:
        """Make the first members of a kind, at once, and wait for them. Raises FlowError START_FAILED."""
        found = [self._watched(name, kind) for name in self._runtime.living() if name.startswith(f"{kind}-process-")]
        made = [self._new_process(kind) for _ in range(max(0, count - len(found)))]
        processes = [*found, *made]
        for process in processes:
            process.create()
        await asyncio.gather(*(process.ready() for process in processes))
        for name in [f"{kind}-{index}" for index in range(count)]:
            self.members[name] = FleetMember(name, kind)
        self._adopt()
        steps = [step for step in self._next_steps() if isinstance(step, Fill)]
        await self._carry_out([step for step in steps if self.members[step.member].kind == kind])
        missing = [name for name, member in self.members.items() if member.kind == kind and not member.is_held]
        if missing:
            raise FlowError(START_FAILED, f"{', '.join(missing)} did not start.")
        for process in processes:
            self._watch(process)
        return [name for name, member in self.members.items() if member.kind == kind]

    def keep_standbys(self) -> None:
        """From now on there are to be standbys: what serves comes first."""
        self._standbys["host"] = self.plan.settings.standby_hosts
        self._wake.set()

    def _new_process(self, kind: Kind) -> WatchedProcess:
        self._numbers[kind] += 1
        return self._watched(self.plan.process(kind, self._numbers[kind]).name, kind)

    def _watched(self, name: str, kind: Kind) -> WatchedProcess:
        number = int(name.rpartition("-")[2])
        self._numbers[kind] = max(self._numbers[kind], number)
        plan = self.plan.process(kind, number)
        returns = kind == "edge" or not self._runtime.is_local
        actor_class = _ACTORS[kind]
        process = WatchedProcess(plan, actor_class, self._runtime, self._settings, self._wake.set, returns=returns)
        self._processes[name] = process
        return process

    def _watch(self, process: WatchedProcess) -> None:
        _ = self._tasks.start(f"watch {process.name}", process.watch())

    # --- keeping ------------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Keep every member held, until cancelled."""
        while True:
            try:
                async with asyncio.timeout(_LOOK_AGAIN_S):
                    await self._wake.wait()
            except TimeoutError:
                pass
            self._wake.clear()
            self._adopt()
            given_up = self._give_up()
            try:
                await self._carry_out(self._next_steps())
            finally:
                for process in given_up:  # Ray has to be told, and that can wait until others have their names
                    process.kill()
            self._tell_waiting()

    def _adopt(self) -> None:
        """Take in what the processes say of themselves. Of two that claim a name the younger life has it."""
        for process in self._processes.values():
            name = process.holds
            if name is None or process.name in self._filling:
                continue
            member = self.members.get(name)
            if member is None:
                member = self.members[name] = FleetMember(name, "host" if name.startswith("host-") else "edge")
            incarnation = process.heartbeat["incarnation"]
            if member.incarnation is None or incarnation > member.incarnation:
                self._held(member, process, incarnation)
            elif process is not member.holder and member.is_held:
                process.end()  # it lives on beside its successor, and does not know
        for member in self.members.values():
            if not member.is_held and member.silent_since is None:
                member.silent_since = time.monotonic()
                if member.lives and not member.is_leaving:
                    self._lost_at = member.silent_since

    def _held(self, member: FleetMember, process: WatchedProcess, incarnation: str) -> None:
        member.holder, member.incarnation = process, incarnation
        member.lives += 1
        if member.lives > 1:
            silent_s = 0.0 if member.silent_since is None else time.monotonic() - member.silent_since
            _log.warning("%s is back as %s, %.2f s later", member.name, incarnation, silent_s)
        member.silent_since = None

    def _give_up(self) -> list[WatchedProcess]:
        """Forget those that are lost."""
        lost = [process for process in self._processes.values() if process.is_lost]
        for process in lost:
            _log.warning("%s is given up", process.name)
            del self._processes[process.name]
        return lost

    def _next_steps(self) -> list[Step]:
        processes = [
            KnownProcess(p.name, p.plan.kind, p.is_coming, p.is_standby, p.node) for p in self._processes.values()
        ]
        is_calm = time.monotonic() - self._lost_at >= self._settings.calm_s
        return next_steps(self._wanted(), processes, self._standbys, is_calm=is_calm)

    def _wanted(self) -> list[WantedMember]:
        return [
            WantedMember(
                m.name,
                m.kind,
                m.holder.name if m.is_held and m.holder else None,
                m.is_leaving,
                m.holder.node if m.is_held and m.holder else "",
            )
            for m in self.members.values()
        ]

    async def _carry_out(self, steps: list[Step]) -> None:
        fills = []
        for step in steps:
            match step:
                case Make(kind):
                    process = self._new_process(kind)
                    process.create()
                    self._watch(process)
                case Retire(name):
                    self._processes.pop(name).kill()
                case Fill(name, process_name):
                    fills.append(self._fill(self.members[name], self._processes[process_name]))
        await asyncio.gather(*fills)

    async def _fill(self, member: FleetMember, process: WatchedProcess) -> None:
        """Give the name to a standby, unless its holder has come back by itself meanwhile."""
        self._filling.add(process.name)
        try:
            present = (await self.store.recent() or View()).member(member.name)
            if present is not None and present.process in self._processes and present.incarnation != member.incarnation:
                return  # its next heartbeat says so
            await process.take(member.name, None if present is None else present.incarnation)
        except FlowError as error:
            level = logging.INFO if error.kind is MOVED else logging.WARNING
            _log.log(level, "%s did not become %s: %s", process.name, member.name, error.message)
        else:
            self._held(member, process, process.heartbeat["incarnation"])
            await self.tell_of_view()
        finally:
            self._filling.discard(process.name)

    async def tell_of_view(self) -> None:
        """Everyone reads the view now rather than at their next turn. Hosts first, so that an owner knows that it is
        one before it is asked."""
        members = [process for process in self._processes.values() if process.holds is not None]
        for kind in KINDS:
            await asyncio.gather(*(process.look() for process in members if process.plan.kind == kind))

    # --- changing -----------------------------------------------------------------------------------------------------

    def names(self, kind: Kind | None = None) -> list[str]:
        """The members that are to stay."""
        return [m.name for m in self.members.values() if not m.is_leaving and kind in (None, m.kind)]

    async def add(self, name: str, kind: Kind) -> None:
        """One more member; returns when it serves. Raises FlowError START_FAILED, and it is given up then."""
        node = emptiest(await asyncio.to_thread(self._runtime.nodes), self._wanted(), kind)
        if node is not None:
            await self._stand_by_at(node, kind)
        member = self.members[name] = FleetMember(name, kind)
        self._wake.set()
        limit_s = self._settings.start_timeout_s
        try:
            async with asyncio.timeout(limit_s):
                while not member.is_held:
                    await self.next_look()
        except TimeoutError:
            del self.members[name]
            raise FlowError(START_FAILED, f"{name} did not start within {limit_s:g} s.") from None

    async def _stand_by_at(self, node: str, kind: Kind) -> None:
        """One more standby, there: the next name is its. One elsewhere would be quicker, but members side by side on
        one node would be worse. Raises FlowError START_FAILED."""
        process = self._new_process(kind)
        self._standbys[kind] += 1
        try:
            process.create(node)
            await process.ready()
            self._watch(process)
        except FlowError:
            self._processes.pop(process.name).kill()
            raise
        finally:
            self._standbys[kind] -= 1

    async def let_settle(self, member: FleetMember) -> None:
        """Wait until nobody is being given the name of this member, which is leaving: from then on nobody will be."""
        if not member.is_held:
            self._wake.set()
            await self.next_look()

    async def remove(self, member: FleetMember) -> None:
        """The name is given up and its process ended for good."""
        holder = member.holder
        if holder is not None and self._processes.pop(holder.name, None) is not None:
            holder.kill()
        self.members.pop(member.name, None)
        self._wake.set()

    async def next_look(self) -> None:
        """Wait until the fleet has looked at its processes once more."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(future)
        await future

    def _tell_waiting(self) -> None:
        waiting, self._waiting = self._waiting, []
        for future in waiting:
            if not future.done():
                future.set_result(None)

    # --- the end ------------------------------------------------------------------------------------------------------

    async def stop(self) -> None:
        """Edges, then hosts, each drained for as long as the settings say."""
        for kind, drain_s in (("edge", self._settings.edge_drain_s), ("host", 0.0)):
            held = [process for process in self._processes.values() if process.plan.kind == kind and process.is_up]
            await asyncio.gather(*(self._stop_one(process, drain_s) for process in held))

    async def _stop_one(self, process: WatchedProcess, drain_s: float) -> None:
        if drain_s and process.holds is not None:
            try:
                await process.drain(drain_s)
            except FlowError as error:
                _log.warning("%s did not drain: %s", process.name, error.message)
        await process.stop()

    def kill(self) -> None:
        """End every process now."""
        for process in self._processes.values():
            process.kill()

    # --- looking ------------------------------------------------------------------------------------------------------

    async def describe(self) -> list[dict[str, Any]]:
        """Members in the order of their names, then standbys: each one's last heartbeat and its own numbers."""
        members = sorted(self.members.values(), key=lambda m: (m.kind, int(m.name.rpartition("-")[2])))
        holders = {member.holder.name for member in members if member.holder is not None and member.is_held}
        spare = [process for name, process in self._processes.items() if name not in holders]
        statistics = await asyncio.gather(
            *(m.holder.statistics() if m.holder and m.is_held else _none() for m in members)
        )
        described = [
            {**_member(member), "statistics": numbers} for member, numbers in zip(members, statistics, strict=True)
        ]
        return [*described, *(_spare(process) for process in spare)]


async def _none() -> dict[str, Any]:
    return {}


def _member(member: FleetMember) -> dict[str, Any]:
    holder = member.holder
    heartbeat = holder.heartbeat if holder is not None else {}
    missed = holder.missed_heartbeats if holder is not None else 0
    state = heartbeat.get("state", "joining") if member.is_held else ("joining" if member.lives == 0 else "away")
    if member.is_leaving:
        state = "draining"
    elif missed and member.is_held:
        state = "silent"
    return {
        **heartbeat,
        "name": member.name,
        "kind": member.kind,
        "state": state,
        "missed_heartbeats": missed,
        "restarts": max(0, member.lives - 1),
    }


def _spare(process: WatchedProcess) -> dict[str, Any]:
    state = process.heartbeat.get("state", "starting") if process.is_up else "starting"
    heartbeat = process.heartbeat if process.is_up else {}
    return {
        **heartbeat,
        "name": process.name,
        "kind": process.plan.kind,
        "state": state,
        "missed_heartbeats": process.missed_heartbeats,
        "restarts": 0,
        "statistics": {},
    }
