"""The supervisor: starts every part in its order, watches, and stops everything in reverse.

`launch` makes one and runs it for the life of an installation. Stages: databases, storage, then hosts, edges and the
recommender side by side; stopping goes edges, hosts, Ray, databases, each within its share of the stop's time. A part
that fails to start stops the start, with the reason; a part that dies later is brought back. It promises that when
`run` returns, no process of the installation is left. It serves no client and knows no room.
"""

import asyncio
import logging
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from cluster.kernel.clock import SystemClock
from cluster.kernel.errors import START_FAILED, UNAVAILABLE, FlowError
from cluster.kernel.tasks import TaskOwner
from cluster.run import development_token, wiring
from cluster.run.attached import Attachment
from cluster.run.control import ControlServer, Tell
from cluster.run.embedded.server import EmbeddedServer
from cluster.run.family import Leftovers, process_table
from cluster.run.fleet import Fleet
from cluster.run.fleet_plan import Kind
from cluster.run.guard import Guard
from cluster.run.models_stage import ModelsStage
from cluster.run.plan import Plan
from cluster.run.progress import Progress, stage
from cluster.run.ray_runtime import RayRuntime
from cluster.run.scaling import Scaling, count_of
from cluster.run.training_job import retraining
from storage.open import Storage

_log = logging.getLogger("flow.supervisor")

_EMBEDDED_STOP_S = 2.5
_MEMBERS_STOP_S = 6.0
_STORAGE_STEPS_S = 30.0
_DEVELOPER = "developer"
_TOKEN_LIFETIME_S = 12 * 3600


@dataclass(frozen=True, slots=True)
class Parts:
    """What `launch` has started already when it makes a supervisor."""

    plan: Plan
    runtime: RayRuntime
    embedded: tuple[EmbeddedServer, ...]
    guard: Guard
    progress: Progress


class Supervisor:
    """One installation's parts. `run` returns when it was told to stop or a part cannot be kept alive."""

    def __init__(self, parts: Parts) -> None:
        self._plan = parts.plan
        self._runtime = parts.runtime
        self._embedded = parts.embedded
        self._guard = parts.guard
        self._progress = parts.progress
        self._storage: Storage | None = None
        self._fleet: Fleet | None = None
        self._scaling: Scaling | None = None
        self._gate = parts.runtime.dashboard_gate()
        self._models = ModelsStage(parts.plan, parts.progress)
        plan = parts.plan
        self._retraining = retraining(plan.settings.training, plan.storage_settings(), plan.installation)
        self._clock = SystemClock()
        self._stop_asked = asyncio.Event()
        self._failure: FlowError | None = None
        self._tasks = TaskOwner("supervisor", limit=256, on_failure=self._task_failed)
        self._changes = TaskOwner("changes", limit=8, on_failure=_change_failed)
        self._control = ControlServer(
            parts.plan.installation.control_socket,
            {"status": self._status, "stop": self._stop_request, "scale": self._scale, "drain": self._drain},
        )

    async def run(self, on_ready: Callable[[dict[str, Any]], None]) -> None:
        """Start, call `on_ready` with the summary, stay until asked to stop, stop. Raises FlowError for a failed start
        or a part that could not be kept alive."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._stop_asked.set)
        try:
            if await self._unless_stopped(self._start()):
                summary = self._summary()
                self._plan.installation.write_state(summary)
                on_ready(await self._with_token(summary))
                await self._stop_asked.wait()
        finally:
            await self._stop()
        if self._failure is not None:
            raise self._failure

    async def _with_token(self, summary: dict[str, Any]) -> dict[str, Any]:
        """In development a start ends with a token to try things with; it is shown and never stored."""
        if not self._plan.settings.is_development:
            return summary
        found = Attachment(self._plan.settings, self._plan.secrets, self._plan.storage_settings(), summary)
        token = await development_token.issue(found, _DEVELOPER, _TOKEN_LIFETIME_S)
        return {**summary, "development_user": _DEVELOPER, "development_token": token}

    async def _unless_stopped(self, start: Any) -> bool:
        """Run the start; False when a stop was asked for first."""
        starting = asyncio.ensure_future(start)
        stopping = asyncio.ensure_future(self._stop_asked.wait())
        try:
            await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if starting.done():
                starting.result()
                return True
            return False
        finally:
            for task in (starting, stopping):
                task.cancel()
            await asyncio.gather(starting, stopping, return_exceptions=True)

    async def _start(self) -> None:
        await self._control.start()
        if self._gate is not None:
            await self._gate.start()
        await self._start_embedded()
        with stage(self._progress, "Storage") as note:
            self._storage = storage = await self._prepare_storage()
            gone = await wiring.withdraw_former(storage.view_store, self._runtime.living(), self._clock)
            note.detail = f"schema and indexes are right{f'; {gone} former members left' if gone else ''}"
        self._fleet = fleet = Fleet(self._plan, self._runtime, storage.view_store, self._tasks)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._start_members(fleet, "Hosts", "host"))
            group.create_task(self._start_members(fleet, "Edges", "edge"))
            group.create_task(self._models.start())
        _ = self._tasks.start("fleet", fleet.run())
        self._scaling = Scaling(fleet, self._plan.settings.supervision)
        fleet.keep_standbys()
        if self._plan.settings.training.every_hours > 0:
            # Among the changes: a model that cannot be made anew is told in the status and ends no server.
            _ = self._changes.start("retraining", self._retraining.watch())

    async def _prepare_storage(self) -> Storage:
        """Storage bounds each of its steps; this bounds all of them together."""
        limit_s = self._plan.settings.storage.index_timeout_ms / 1000 + _STORAGE_STEPS_S
        try:
            async with asyncio.timeout(limit_s):
                return await wiring.prepare_storage(self._plan, self._clock)
        except TimeoutError:
            raise FlowError(START_FAILED, f"The database was not ready within {limit_s:g} s.") from None

    async def _start_embedded(self) -> None:
        if not self._embedded:
            return
        *names, last = [server.program.name for server in self._embedded]
        with stage(self._progress, f"{', '.join(names)} and {last}" if names else last) as note:
            await asyncio.gather(*(server.ready() for server in self._embedded))
            note.detail = "embedded"
        for server in self._embedded:
            _ = self._tasks.start(f"watch {server.program.name}", server.watch())

    async def _start_members(self, fleet: Fleet, name: str, kind: Kind) -> None:
        with stage(self._progress, name) as note:
            note.detail = ", ".join(await fleet.start(kind, self._plan.counts()[kind]))

    async def _stop(self) -> None:
        leftovers = Leftovers(but=self._guard.pid)
        with stage(self._progress, "Stopping"):
            await self._changes.stop()
            await self._tasks.stop()
            await self._control.stop()
            if self._gate is not None:
                await self._gate.stop()
            await self._stop_fleet()
            await self._models.stop(leave_cluster=not self._runtime.is_local)
            self._runtime.stop()
            await asyncio.gather(*(server.stop(_EMBEDDED_STOP_S) for server in self._embedded))
            leftovers.end()
        self._plan.installation.clear_state()

    async def _stop_fleet(self) -> None:
        if self._fleet is not None:
            try:
                async with asyncio.timeout(_MEMBERS_STOP_S):
                    await self._fleet.stop()
            except TimeoutError:
                _log.warning("hosts and edges did not stop within %s s and are ended", _MEMBERS_STOP_S)
            self._fleet.kill()
        if self._storage is not None:
            await self._storage.close()

    def _task_failed(self, name: str, error: BaseException) -> None:
        """A part that cannot be kept alive ends the whole, loudly, rather than leaving half a server."""
        _log.error("%s failed", name, exc_info=error)
        self._failure = error if isinstance(error, FlowError) else None
        self._stop_asked.set()

    def _summary(self) -> dict[str, Any]:
        return {
            **self._plan.described(),
            "state": "ready",
            "ready_after_s": round(time.time() - self._plan.started_at, 1),
            "ray": self._runtime.describe(),
        }

    async def _scale(self, request: dict[str, Any], tell: Tell) -> dict[str, Any]:
        scaling, hosts, edges = self._ready_to_scale(), count_of(request, "hosts"), count_of(request, "edges")
        return await self._changes.start("scale", scaling.scale(hosts, edges, tell))  # type: ignore[no-any-return]

    async def _drain(self, request: dict[str, Any], tell: Tell) -> dict[str, Any]:
        work = self._ready_to_scale().drain(str(request.get("name")), tell)
        return await self._changes.start("drain", work)  # type: ignore[no-any-return]

    def _ready_to_scale(self) -> Scaling:
        if self._scaling is None:
            raise FlowError(UNAVAILABLE, "Flow is still starting. Try again when it is ready.")
        return self._scaling

    async def _status(self, _request: dict[str, Any], _tell: Tell) -> dict[str, Any]:
        fleet = self._fleet
        described = [] if fleet is None else await fleet.describe()
        counts = {} if fleet is None else {"hosts": len(fleet.names("host")), "edges": len(fleet.names("edge"))}
        embedded = {server.program.name: server.statistics() for server in self._embedded}
        names = {part["pid"]: name for name, part in embedded.items()}
        names |= {self._guard.pid: "guard"}
        names |= {part["pid"]: part["name"] for part in described if "pid" in part}
        processes = process_table(names)
        return {
            **self._plan.described(),
            **counts,
            "ray": {**self._runtime.describe(), "nodes": len(await asyncio.to_thread(self._runtime.nodes))},
            "members": described,
            "embedded": embedded,
            "recommender": await self._models.status(),
            "retraining": self._retraining.statistics(),
            "processes": processes,
            "memory_mb": sum(row["mb"] for row in processes),
        }

    async def _stop_request(self, _request: dict[str, Any], _tell: Tell) -> None:
        self._stop_asked.set()


def _change_failed(name: str, error: BaseException) -> None:
    """Whoever asked for it is told as well."""
    _log.warning("%s failed: %s", name, error)
