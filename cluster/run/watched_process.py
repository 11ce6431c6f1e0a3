"""The supervisor's hold on one process: makes its actor, listens to its heart, ends it when it is silent.

A process that `returns` is started again by Ray when it died, and finds in the cluster's view whether it still holds a
name; another is lost when it dies. This file only notices: at once through the kernel on this machine (a process
descriptor becomes readable when the process ends), by heartbeats elsewhere. What follows is the fleet's business.
"""

import asyncio
import logging
import os
from collections.abc import Callable
from typing import Any

from cluster.kernel.errors import DEADLINE_EXCEEDED, START_FAILED, FlowError
from cluster.run.child_process import bury
from cluster.run.family import end_process, is_local, is_running
from cluster.run.process import ProcessPlan
from cluster.run.ray_runtime import RayActor, RayRuntime
from cluster.run.settings import SupervisionSettings
from cluster.run.vigil import Verdict, Vigil

_log = logging.getLogger("flow.supervisor")

_OWN_STALL_S = 0.5
"""A wait that took this much longer than it may says something of the supervisor, not of the process."""
_START_LOOK_S = 0.25
_BREATH_S = 0.02
"""Between a death and what follows from it. Right after a death the kernel takes the process apart, and Ray and MongoDB
hear of it, all at once: other members' messages should not wait for our part as well. Nobody feels so short a wait."""


class WatchedProcess:
    """`changed` is called whenever the fleet should look again."""

    def __init__(
        self,
        plan: ProcessPlan,
        actor_class: type[Any],
        runtime: RayRuntime,
        settings: SupervisionSettings,
        changed: Callable[[], None],
        *,
        returns: bool,
    ) -> None:
        self.plan = plan
        self._returns = returns
        self._actor_class = actor_class
        self._runtime = runtime
        self._settings = settings
        self._changed = changed
        self._actor: RayActor | None = None
        self._loop = asyncio.get_running_loop()
        self._vigil = Vigil(settings, self._loop.time(), returns=returns)
        self._descriptor: int | None = None
        self.heartbeat: dict[str, Any] = {}
        """The last one, of whichever life of the process."""
        self.is_up = False
        """Whether the life that sent the last heartbeat goes on, as far as is known."""
        self.is_lost = False
        """It did not come in time, or died and will not come back. Final."""

    @property
    def name(self) -> str:
        return self.plan.name

    @property
    def holds(self) -> str | None:
        """The member it says it is."""
        return self.heartbeat.get("holds") if self.is_up else None

    @property
    def node(self) -> str:
        """The node of the cluster that it runs on, as far as is known."""
        return str(self.heartbeat.get("node", ""))

    @property
    def is_standby(self) -> bool:
        return self.is_up and self.heartbeat.get("state") == "standby"

    @property
    def is_coming(self) -> bool:
        """Whether it starts or takes a name. One that cannot start counts too: another would fail as well."""
        return not self.is_up or self.heartbeat.get("state") in ("starting", "joining", "failed")

    @property
    def missed_heartbeats(self) -> int:
        return self._vigil.missed

    # --- life ---------------------------------------------------------------------------------------------------------

    def create(self, node: str | None = None) -> None:
        """`node` is where it should run while that node is there; elsewhere it is spread."""
        self._actor = self._runtime.create(self.name, self._actor_class, self.plan, node=node, restarts=self._returns)

    async def ready(self) -> None:
        """Wait until it could start. Raises FlowError START_FAILED with the process's own reason."""
        asked = self._loop.time()
        try:
            self._beat(asked, await self._call("ready", timeout_s=self._settings.start_timeout_s))
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

    async def take(self, name: str, instead_of: str | None) -> None:
        """Become that member. Raises FlowError: MOVED when another holds the name."""
        asked = self._loop.time()
        self._beat(asked, await self._call("take", name, instead_of, timeout_s=self._settings.start_timeout_s))

    async def look(self) -> None:
        """Tell it that there is a newer view; what does not hear it finds out by itself."""
        try:
            await self._call("look", timeout_s=self._settings.heartbeat_timeout_s)
        except FlowError as error:
            _log.debug("%s was not told of the view: %s", self.name, error)

    async def drain(self, deadline_s: float) -> None:
        """Raises FlowError."""
        await self._call("drain", deadline_s, timeout_s=deadline_s + 2.0)

    async def stop(self) -> None:
        """What does not answer is left to be killed."""
        try:
            await self._call("stop", timeout_s=2.0)
        except FlowError as error:
            _log.warning("%s did not stop by itself: %s", self.name, error.message)

    def end(self) -> None:
        """End this life of it; Ray starts another of one that returns. The signal works on a stopped process too."""
        if is_local(self.heartbeat):
            end_process(self.heartbeat)
        elif self._actor is not None:
            self._runtime.kill(self._actor, restart=self._returns)

    def kill(self) -> None:
        """End it for good."""
        self._forget_descriptor()
        self.is_up = False
        if self._actor is not None:
            self._runtime.kill(self._actor, restart=False)

    async def statistics(self) -> dict[str, Any]:
        """What the process says of itself; empty while it is away."""
        try:
            answer: dict[str, Any] = await self._call("statistics", timeout_s=self._settings.heartbeat_timeout_s)
        except FlowError:
            return {}
        return answer

    # --- watching -----------------------------------------------------------------------------------------------------

    async def watch(self) -> None:
        """Heartbeats until cancelled or lost, one each interval however long the last one took."""
        loop = self._loop
        due = loop.time()
        try:
            while not self.is_lost:
                pause = self._settings.heartbeat_interval_s if self.is_up else _START_LOOK_S
                due = max(due + pause, loop.time())
                await asyncio.sleep(due - loop.time())
                self._check_own_stall(due)
                await self._ask()
                self._judge()
        finally:
            self._forget_descriptor()

    async def _ask(self) -> None:
        asked = self._loop.time()
        timeout_s = self._settings.heartbeat_timeout_s
        try:
            self._beat(asked, await self._call("heartbeat", timeout_s=timeout_s))
        except FlowError as error:
            self._check_own_stall(asked + timeout_s)
            self._vigil.unheard(is_away=error.kind is not DEADLINE_EXCEEDED)
            if self.is_up:
                _log.warning("%s missed heartbeat %d: %s", self.name, self._vigil.missed, error.message)

    def _check_own_stall(self, due: float) -> None:
        now = self._loop.time()
        if now - due > _OWN_STALL_S:
            _log.warning("the supervisor itself stood still for %.1f s; %s is asked again", now - due, self.name)
            self._vigil.stood_still(now)

    def _beat(self, asked: float, heartbeat: dict[str, Any]) -> None:
        if self.is_lost:
            return  # it answered just before it died
        before, self.heartbeat = self.heartbeat, heartbeat
        is_new = heartbeat["incarnation"] != before.get("incarnation")
        if is_new and not self._follow_life(heartbeat):
            return
        was_up, self.is_up = self.is_up, True
        self._vigil.heard(asked)
        if is_new or not was_up or (heartbeat["state"], heartbeat["holds"]) != (before["state"], before["holds"]):
            self._changed()

    def _follow_life(self, heartbeat: dict[str, Any]) -> bool:
        """Hear of this life's end at once, where the kernel can tell. False when it has ended already."""
        self._forget_descriptor()
        if not is_local(heartbeat):
            return True
        try:
            descriptor = os.pidfd_open(int(heartbeat["pid"]))
        except ProcessLookupError:
            self._died()
            return False
        if not is_running(heartbeat):
            os.close(descriptor)
            self._died()
            return False
        self._descriptor = descriptor
        self._loop.add_reader(descriptor, self._died)
        return True

    def _forget_descriptor(self) -> None:
        if self._descriptor is not None:
            self._loop.remove_reader(self._descriptor)
            os.close(self._descriptor)
            self._descriptor = None

    def _judge(self) -> None:
        match self._vigil.verdict(self._loop.time()):
            case Verdict.DEAD:
                self._died()
            case Verdict.SILENT:
                self.end()
                self._died()
            case Verdict.LOST:
                self.is_lost = True
                self._changed()
            case _:
                return

    def _died(self) -> None:
        self._forget_descriptor()
        if is_local(self.heartbeat):
            bury(int(self.heartbeat["pid"]))
        if self.is_up:
            _log.warning("%s (%s) is gone", self.heartbeat.get("holds") or "a standby", self.name)
        self.is_up = False
        now = self._loop.time()
        self._vigil.died(now)
        self.is_lost = self._vigil.verdict(now) is Verdict.LOST
        self._loop.call_later(_BREATH_S, self._changed)

    async def _call(self, method: str, *arguments: Any, timeout_s: float) -> Any:
        if self._actor is None:
            raise FlowError(START_FAILED, f"{self.name} was not created.")
        return await self._runtime.call(self._actor, method, *arguments, timeout_s=timeout_s)
