"""The recommender's place in a start: its Serve applications, deployed as the settings file says.

It runs beside hosts and edges. That it is late or broken never fails a start, for recommendations have a fallback; the
stage says so and `flow status` goes on telling.
"""

import asyncio
from typing import Any

from cluster.kernel.errors import FlowError
from cluster.run import ray_serve, replica_environment
from cluster.run.plan import Plan
from cluster.run.progress import Progress, stage

_POLL_S = 0.25
_RUNNING = "RUNNING"
_SHUTDOWN_S = 3.0


class ModelsStage:
    """Deploys the Serve part of the settings, unless it is empty or switched off."""

    def __init__(self, plan: Plan, progress: Progress) -> None:
        configuration = plan.configuration.serve if plan.settings.recommender else {}
        if plan.secrets.ray_address is not None:
            configuration = replica_environment.given_to(configuration, plan)
        self._configuration = configuration
        self._timeout_s = plan.settings.supervision.model_ready_timeout_s
        self._progress = progress
        self._deployed = False

    @property
    def is_wanted(self) -> bool:
        return bool(self._configuration.get("applications"))

    async def start(self) -> None:
        """Deploy and wait until the applications run, or say why they do not."""
        if not self.is_wanted:
            return
        schema = ray_serve.checked(self._configuration)
        with stage(self._progress, "Recommender") as note:
            try:
                await ray_serve.deploy(schema)
                self._deployed = True
                note.detail = await self._wait_until_running()
            except FlowError as error:
                note.detail = f"not running: {error.message}"

    async def _wait_until_running(self) -> str:
        statuses: dict[str, dict[str, Any]] = {}
        try:
            async with asyncio.timeout(self._timeout_s):
                while True:
                    statuses = await ray_serve.statuses()
                    if statuses and all(one["status"] == _RUNNING for one in statuses.values()):
                        return ", ".join(statuses)
                    failed = [one for one in statuses.values() if one["status"] == "DEPLOY_FAILED"]
                    if failed:
                        return f"not running: {' '.join(str(failed[0]['message']).split())[:300]}"
                    await asyncio.sleep(_POLL_S)
        except TimeoutError:
            return f"not running after {self._timeout_s:g} s: {statuses}"

    async def status(self) -> dict[str, Any]:
        """{"wanted", "applications"}: what Serve says of each."""
        applications = await ray_serve.statuses() if self._deployed else {}
        return {"wanted": self.is_wanted, "applications": applications}

    async def stop(self, *, leave_cluster: bool) -> None:
        """Only a cluster that stays needs Serve to be taken down; a local one ends as a whole."""
        if self._deployed and leave_cluster:
            try:
                await asyncio.wait_for(ray_serve.shutdown(), _SHUTDOWN_S)
            except TimeoutError:
                return
