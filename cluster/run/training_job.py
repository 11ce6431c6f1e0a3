"""Trains on what an installation stores, as a job of its Ray: for the command line and for the schedule.

The command joins the running Ray as a driver of its own and leaves it when the job is over (it has prepared Ray's
environment before it imports this); the supervisor, which is in it already, calls `submit` alone. What a model is made
with is imported when a run begins: a supervisor is small until then.
"""

from typing import TYPE_CHECKING, Any

from cluster.kernel.clock import SystemClock
from cluster.run import ray_runtime
from cluster.run.attached import Attachment
from cluster.run.installation import Installation
from serve_apps.registry import ModelRegistry
from serve_apps.training.schedule import Retraining
from serve_apps.training.settings import Progress, RetrainingSettings, silent
from storage.settings import StorageSettings

if TYPE_CHECKING:
    from serve_apps.training.job import Outcome, Run


async def run(found: Attachment, models: str, wanted: "Run", progress: Progress) -> "Outcome":
    """Raises FlowError: what the run raises, START_FAILED when Ray cannot be joined."""
    ray: dict[str, Any] = found.state["ray"]
    with ray_runtime.joined(ray["address"], ray["namespace"]):
        return await submit(found.storage, models, wanted, progress)


async def submit(storage: StorageSettings, models: str, wanted: "Run", progress: Progress) -> "Outcome":
    """In a process that is joined to Ray. `models` is an absolute directory or an fsspec URL."""
    from serve_apps.training.ray_job import JobSpecification, train_on_ray

    return await train_on_ray(JobSpecification(storage.uri, storage.database, models, wanted), progress)


def retraining(settings: RetrainingSettings, storage: StorageSettings, installation: Installation) -> Retraining:
    """The schedule of an installation, for its supervisor to run `watch` of."""
    models = str(installation.models.resolve())

    async def make() -> "Outcome":
        from serve_apps.training.job import Run

        wanted = Run(serve=settings.serve, rules=settings, at_least=settings.min_interactions)
        return await submit(storage, models, wanted, silent)

    return Retraining(settings, ModelRegistry(installation.models), make, SystemClock())
