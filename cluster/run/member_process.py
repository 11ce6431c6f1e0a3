"""The life of one host or edge process, whatever it runs: start by itself, say how it is, drain, stop.

Ray makes the object in a process of its own and calls it; `HostActor` and `EdgeActor` fill in what starts and stops. It
promises that a process that Ray restarted comes up without anybody asking, under a new incarnation, and keeps trying
while the databases are away. It holds no rule and serves no client.
"""

import asyncio
import logging
import os
import secrets
import socket
import time
from abc import ABC, abstractmethod
from typing import Any

import psutil

from cluster.kernel import logs
from cluster.kernel.errors import INTERNAL, FlowError
from cluster.kernel.tasks import TaskOwner
from cluster.run.process import ProcessPlan

_log = logging.getLogger("flow.process")

_FIRST_PAUSE_S = 0.1
_LONGEST_PAUSE_S = 2.0
_LAG_INTERVAL_S = 0.25


class MemberProcess(ABC):
    """One process of the cluster. Made on a running event loop; it starts at once."""

    def __init__(self, plan: ProcessPlan) -> None:
        self.plan = plan
        self.incarnation = f"{time.time_ns():016x}-{secrets.token_hex(4)}"
        self._state = "starting"
        self._error: FlowError | None = None
        self._started = asyncio.Event()
        self._since = time.monotonic()
        self._process_started = psutil.Process().create_time()
        self._lag_ms = 0.0
        logs.configure(plan.name, plan.settings.log_level, plan.logs_directory)
        self._tasks = TaskOwner(plan.name, limit=8)
        _ = self._tasks.start("start", self._start_until_it_works())
        _ = self._tasks.start("lag", self._measure_lag())

    @abstractmethod
    async def _start(self) -> None:
        """Bring everything up. Called again after a failure that may pass; it leaves nothing behind when it fails."""

    @abstractmethod
    async def _drain(self, deadline_s: float) -> None:
        """Hand over what can be handed over within `deadline_s`."""

    @abstractmethod
    async def _stop(self) -> None:
        """Undo `_start`."""

    @abstractmethod
    def _statistics(self) -> dict[str, Any]: ...

    async def ready(self) -> dict[str, Any]:
        """Wait until it has started; its heartbeat. Raises the FlowError that made a start impossible."""
        await self._started.wait()
        if self._state == "failed" and self._error is not None:
            raise self._error
        return await self.heartbeat()

    async def heartbeat(self) -> dict[str, Any]:
        """Who and how it is, in a few small values."""
        return {
            "name": self.plan.name,
            "kind": self.plan.kind,
            "state": self._state,
            "incarnation": self.incarnation,
            "pid": os.getpid(),
            "node": socket.gethostname(),
            "process_started": self._process_started,
            "uptime_s": round(time.monotonic() - self._since, 1),
            "loop_lag_ms": round(self._lag_ms, 1),
            "error": self._error.message if self._error is not None else None,
        }

    async def statistics(self) -> dict[str, Any]:
        return self._statistics() if self._state in ("running", "draining") else {}

    async def drain(self, deadline_s: float) -> None:
        """Take nothing new and hand over, for at most `deadline_s`."""
        if self._state == "running":
            self._state = "draining"
            await self._drain(deadline_s)

    async def stop(self) -> None:
        """Stop everything this process runs; the process itself stays until Ray ends it. Safe to call twice."""
        was_up = self._state in ("running", "draining")
        self._state = "stopped"
        await self._tasks.stop()
        if was_up:
            await self._stop()

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
                self._state = "running"
                self._started.set()
                _log.info("running as %s, %.1f s after its process", self.incarnation, time.monotonic() - self._since)
                return
            await asyncio.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE_S)

    def _fail(self, error: FlowError) -> None:
        self._error = error
        self._state = "failed"
        self._started.set()
        _log.error("cannot start: %s", error.message)

    async def _measure_lag(self) -> None:
        """How late this loop is: the worst of the last few looks, fading."""
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + _LAG_INTERVAL_S
            await asyncio.sleep(_LAG_INTERVAL_S)
            self._lag_ms = max((loop.time() - due) * 1000, self._lag_ms * 0.8)
