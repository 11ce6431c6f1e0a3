"""The life of one host or edge process, whatever it runs: start by itself, take a name, say how it is, drain, stop.

Ray makes the object in a process of its own and calls it; `HostActor` and `EdgeActor` say which parts a name is made
of. A process that has started is a standby: its imports are done and its storage is open, so that taking a name is a
matter of milliseconds. It promises that a process that Ray started again takes back, without anybody asking, the name
that the cluster's view still gives it, under a new incarnation, and no name that another has taken meanwhile; that it
keeps trying while the databases are away; and that it ends when it sees its name in another's hands.
"""

import asyncio
import logging
import os
import secrets
import socket
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, NoReturn, Protocol

import psutil

from cluster.kernel import logs, priority
from cluster.kernel.clock import SystemClock
from cluster.kernel.errors import INTERNAL, MOVED, FlowError
from cluster.kernel.tasks import TaskOwner
from cluster.placement.membership import held_by
from cluster.placement.view import View
from cluster.run import wiring
from cluster.run.family import age_s
from cluster.run.process import ProcessPlan
from cluster.run.ray_node import node_id
from storage.open import Storage

_log = logging.getLogger("flow.process")

_FIRST_PAUSE_S = 0.1
_LONGEST_PAUSE_S = 2.0
_LAG_INTERVAL_S = 0.25
_FENCED_EXIT = 3


class Parts(Protocol):
    """What makes a process a member."""

    async def start(self, instead_of: str | None) -> bool:
        """Come up and take the name; False when it is not free, and everything is down again then."""

    async def look(self) -> None:
        """There is probably a newer view: read it."""

    async def drain(self, seconds: float) -> None: ...

    async def stop(self) -> None: ...

    def statistics(self) -> dict[str, Any]: ...


class MemberProcess(ABC):
    """One process of the cluster. Made on a running event loop; it starts at once."""

    def __init__(self, plan: ProcessPlan) -> None:
        self.plan = plan
        self.incarnation = f"{time.time_ns():016x}-{secrets.token_hex(4)}"
        self._clock = SystemClock()
        self._state = "starting"
        self._holds: str | None = None
        self._parts: Parts | None = None
        self._storage: Storage | None = None
        self._error: FlowError | None = None
        self._started = asyncio.Event()
        self._since = time.monotonic()
        self._process_started = psutil.Process().create_time()
        self._node = node_id()
        self._ready_after_s: float | None = None
        self._lag_ms = 0.0
        logs.configure(plan.name, plan.settings.log_level, plan.logs_directory)
        self._tasks = TaskOwner(plan.name, limit=8)
        _ = self._tasks.start("start", self._start_until_it_works())
        _ = self._tasks.start("lag", self._measure_lag())

    @abstractmethod
    def _make_parts(self, name: str, storage: Storage, on_fenced: Callable[[], None]) -> Parts:
        """Not started."""

    # --- what the supervisor asks -------------------------------------------------------------------------------------

    async def ready(self) -> dict[str, Any]:
        """Wait until it has started; its heartbeat. Raises the FlowError that made a start impossible."""
        await self._started.wait()
        if self._state == "failed" and self._error is not None:
            raise self._error
        return await self.heartbeat()

    async def heartbeat(self) -> dict[str, Any]:
        """Who and how it is, in a few small values. `holds` is the member's name, None for a standby."""
        return {
            "process": self.plan.name,
            "kind": self.plan.kind,
            "holds": self._holds,
            "state": self._state,
            "incarnation": self.incarnation,
            "pid": os.getpid(),
            "machine": socket.gethostname(),
            "node": self._node,
            "process_started": self._process_started,
            "ready_after_s": self._ready_after_s,
            "uptime_s": round(time.monotonic() - self._since, 1),
            "loop_lag_ms": round(self._lag_ms, 1),
            "error": self._error.message if self._error is not None else None,
        }

    async def take(self, name: str, instead_of: str | None) -> dict[str, Any]:
        """Become that member, in place of the incarnation `instead_of` if one is given; the heartbeat then.

        Raises FlowError MOVED when the name is not free or this process has one, or why it could not come up.
        """
        if self._state != "standby":
            raise FlowError(MOVED, f"{self.plan.name} is {self._state} and cannot become {name}.")
        await self._become(name, instead_of)
        if self._holds is None:
            raise FlowError(MOVED, f"{name} is held by another process.")
        return await self.heartbeat()

    async def look(self) -> None:
        """The cluster's view has changed."""
        if self._parts is not None:
            await self._parts.look()

    async def statistics(self) -> dict[str, Any]:
        return self._parts.statistics() if self._parts is not None else {}

    async def drain(self, deadline_s: float) -> None:
        """Take nothing new and hand over, for at most `deadline_s`."""
        if self._state == "running" and self._parts is not None:
            self._state = "draining"
            await self._parts.drain(deadline_s)

    async def stop(self) -> None:
        """Stop everything this process runs; the process itself stays until Ray ends it. Safe to call twice."""
        self._state = "stopped"
        await self._tasks.stop()
        parts, self._parts = self._parts, None
        storage, self._storage = self._storage, None
        if parts is not None:
            await parts.stop()
        if storage is not None:
            await storage.close()

    # --- starting -----------------------------------------------------------------------------------------------------

    async def _start_until_it_works(self) -> None:
        pause = _FIRST_PAUSE_S
        while True:
            try:
                await self._start()
            except FlowError as error:
                self._error = error
                if not error.kind.retryable:
                    self._fail(error)
                    return
                _log.warning("cannot start yet: %s", error.message)
            except Exception as error:  # noqa: BLE001 - the supervisor is told, and the trace is logged here
                _log.exception("start failed")
                self._fail(FlowError(INTERNAL, f"{self.plan.name} failed to start: {error!r}"))
                return
            else:
                self._error = None
                self._started.set()
                self._ready_after_s = round(age_s(os.getpid()), 2)
                _log.info("%s, %.2f s after its process", self._state, self._ready_after_s)
                return
            await asyncio.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE_S)

    async def _start(self) -> None:
        """Open the storage, then take back the name that the view still gives an earlier life of this process."""
        if self._storage is None:
            self._storage = await wiring.open_storage(self.plan, self._clock)
        await self._storage.warm()
        priority.restore()  # imports and connections, which are what a start costs, are done
        view = await self._storage.view_store.load() or View()
        mine = held_by(view, self.plan.name)
        if mine is not None:
            await self._become(mine.name, mine.incarnation)
        else:
            _ = view.host_of(0)  # who owns what is worked out here, and not while a name is being taken
            self._state = "standby"

    async def _become(self, name: str, instead_of: str | None) -> None:
        assert self._storage is not None
        self._state = "joining"
        parts = self._make_parts(name, self._storage, self._fenced)
        try:
            if await parts.start(instead_of):
                self._parts, self._holds = parts, name
        finally:
            self._state = "running" if self._holds is not None else "standby"
        _log.info("%s as %s", f"is {name}" if self._holds else f"did not become {name}", self.incarnation)

    def _fail(self, error: FlowError) -> None:
        self._error = error
        self._state = "failed"
        self._started.set()
        _log.error("cannot start: %s", error.message)

    def _fenced(self) -> NoReturn:
        """Another process has this one's name. Nothing in memory may be said any more, so nothing is tidied up: another
        process starts, with nothing in its memory."""
        _log.error("%s is in other hands; this process ends", self._holds)
        logging.shutdown()
        os._exit(_FENCED_EXIT)

    async def _measure_lag(self) -> None:
        """How late this loop is: the worst of the last few looks, fading."""
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + _LAG_INTERVAL_S
            await asyncio.sleep(_LAG_INTERVAL_S)
            self._lag_ms = max((loop.time() - due) * 1000, self._lag_ms * 0.8)
