"""The supervisor's hold on one host or edge: makes its actor, listens to its heart, replaces it when it is silent.

Ray restarts a process that died and the process starts itself; this file notices, and does what Ray does not: a process
that lives but no longer answers is ended so that Ray starts another, and an actor that Ray has given up is made again.
"""

import asyncio
import logging
import time
from dataclasses import dataclass, field
from typing import Any

from cluster.kernel.errors import DEADLINE_EXCEEDED, START_FAILED, FlowError
from cluster.run.family import end_process, is_local
from cluster.run.process import ProcessPlan
from cluster.run.ray_runtime import RayActor, RayRuntime
from cluster.run.settings import SupervisionSettings

_log = logging.getLogger("flow.supervisor")


_OWN_STALL_S = 0.5
"""A wait that took this much longer than it may says something of the supervisor, not of the member."""


@dataclass(slots=True)
class _Pulse:
    """What is known of a member from its heartbeats."""

    last: dict[str, Any] = field(default_factory=dict)
    missed: int = 0
    incarnations: int = 0
    silent_since: float | None = None
    not_before: float = 0.0


class Member:
    """One supervised actor."""

    def __init__(
        self, plan: ProcessPlan, actor_class: type[Any], runtime: RayRuntime, settings: SupervisionSettings
    ) -> None:
        self.plan = plan
        self._actor_class = actor_class
        self._runtime = runtime
        self._settings = settings
        self._actor: RayActor | None = None
        self._pulse = _Pulse()

    @property
    def name(self) -> str:
        return self.plan.name

    def create(self) -> None:
        self._actor = self._runtime.create(self.plan.name, self._actor_class, self.plan)

    async def ready(self) -> None:
        """Wait until it has started. Raises FlowError START_FAILED with the process's own reason."""
        try:
            self._beat(await self._call("ready", timeout_s=self._settings.start_timeout_s))
        except FlowError as error:
            reason = error.message
            if error.kind is DEADLINE_EXCEEDED:
                reason = await self._own_reason() or reason
            raise FlowError(START_FAILED, f"{self.name} did not start: {reason}") from error

    async def _own_reason(self) -> str | None:
        try:
            error = (await self._call("heartbeat", timeout_s=self._settings.heartbeat_timeout_s))["error"]
        except FlowError:
            return None
        return None if error is None else str(error)

    async def watch(self) -> None:
        """Heartbeats until cancelled, one each interval however long the last one took."""
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            due = max(due + self._settings.heartbeat_interval_s, loop.time())
            await asyncio.sleep(due - loop.time())
            asked = loop.time()
            try:
                self._beat(await self._call("heartbeat", timeout_s=self._settings.heartbeat_timeout_s))
            except FlowError as error:
                if loop.time() - asked > self._settings.heartbeat_timeout_s + _OWN_STALL_S:
                    _log.warning("the supervisor itself stood still; %s is asked again", self.name)
                else:
                    self._miss(error)

    def _beat(self, heartbeat: dict[str, Any]) -> None:
        pulse = self._pulse
        if heartbeat["incarnation"] != pulse.last.get("incarnation"):
            pulse.incarnations += 1
            if pulse.incarnations > 1:
                silent = 0.0 if pulse.silent_since is None else time.monotonic() - pulse.silent_since
                _log.warning("%s is back as %s, %.1f s later", self.name, heartbeat["incarnation"], silent)
        pulse.last = heartbeat
        pulse.missed = 0
        pulse.silent_since = None
        pulse.not_before = 0.0

    def _miss(self, error: FlowError) -> None:
        pulse = self._pulse
        pulse.missed += 1
        pulse.silent_since = pulse.silent_since or time.monotonic()
        _log.warning("%s missed heartbeat %d: %s", self.name, pulse.missed, error.message)
        now = time.monotonic()
        if pulse.missed >= self._settings.missed_heartbeats and now >= pulse.not_before:
            # What replaces it needs time to start; until then silence is no news.
            pulse.not_before = now + self._settings.start_timeout_s
            self._replace(error)

    def _replace(self, error: FlowError) -> None:
        if error.kind is not DEADLINE_EXCEEDED or self._actor is None:
            # Ray no longer knows it, or restarts it already: `create` finds the one that lives or makes another.
            self.create()
        elif is_local(self._pulse.last):
            end_process(self._pulse.last)
        else:
            self._runtime.kill(self._actor, restart=True)

    async def drain(self, deadline_s: float) -> None:
        """Raises FlowError."""
        await self._call("drain", deadline_s, timeout_s=deadline_s + 1.0)

    async def stop(self, deadline_s: float) -> None:
        """Drain and stop; what does not answer is left to be killed, and what was never made is no news."""
        if self._actor is None:
            return
        try:
            await self.drain(deadline_s)
            await self._call("stop", timeout_s=2.0)
        except FlowError as error:
            _log.warning("%s did not stop by itself: %s", self.name, error.message)

    def kill(self) -> None:
        if self._actor is not None:
            self._runtime.kill(self._actor, restart=False)

    async def statistics(self) -> dict[str, Any]:
        """What the process says of itself; empty while it is away."""
        try:
            answer: dict[str, Any] = await self._call("statistics", timeout_s=self._settings.heartbeat_timeout_s)
        except FlowError:
            return {}
        return answer

    def describe(self) -> dict[str, Any]:
        """For status: the last heartbeat, and whether it is still true."""
        pulse = self._pulse
        described = {"name": self.name, "kind": self.plan.kind, **pulse.last}
        if pulse.missed:
            described["state"] = "silent"
        return {**described, "missed_heartbeats": pulse.missed, "restarts": max(0, pulse.incarnations - 1)}

    async def _call(self, method: str, *arguments: Any, timeout_s: float) -> Any:
        if self._actor is None:
            raise FlowError(START_FAILED, f"{self.name} was not created.")
        return await self._runtime.call(self._actor, method, *arguments, timeout_s=timeout_s)
