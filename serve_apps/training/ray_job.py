"""A training run as a Ray job: an actor of its own that trains where Ray has room, and tells how far it is.

Used by the command line and by the schedule, in a process that is joined to Ray. One run at a time an installation: the
actor's name is taken while it runs. The actor belongs to the process that started it and ends with it, so an
interrupted command leaves nothing behind. It yields to hosts and edges (nice 10).
"""

import asyncio
import os
import threading
from dataclasses import dataclass
from typing import Any, Final

import ray
from ray import exceptions as ray_exceptions

from cluster.kernel.errors import LIMIT_REACHED, TRAINING_DATA_INVALID, UNAVAILABLE, FlowError
from serve_apps.training.job import Outcome, Run, train_and_publish
from serve_apps.training.settings import Progress, TrainingProgress

JOB_NAME: Final = "flow-training"
_POLL_S: Final = 0.5
_KEPT_STEPS: Final = 1_000
_NICENESS: Final = 10


@dataclass(frozen=True, slots=True)
class JobSpecification:
    """Where the rows are and where the version goes."""

    uri: str
    database: str
    models: str
    run: Run


class TrainingProcess:
    """The actor's class. Ray runs `run` and `steps` in threads side by side.

    No method may be a coroutine function: with one, Ray would call all of them inside an event loop of its own.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._steps: list[TrainingProgress] = []
        self._dropped = 0

    def run(self, job: JobSpecification) -> Outcome:
        """Blocks until the version is published. Raises FlowError."""
        os.nice(_NICENESS)
        return asyncio.run(_train(job, self._step))

    def steps(self, after: int) -> list[TrainingProgress]:
        """The steps since the one numbered `after`; the oldest are forgotten beyond a bound."""
        with self._lock:
            return self._steps[max(0, after - self._dropped) :]

    def _step(self, progress: TrainingProgress) -> None:
        with self._lock:
            self._steps.append(progress)
            if len(self._steps) > _KEPT_STEPS:
                self._steps.pop(0)
                self._dropped += 1


async def _train(job: JobSpecification, progress: Progress) -> Outcome:
    from serve_apps.registry import ModelRegistry
    from storage.training_data import open_training_data

    data = await open_training_data(job.uri, job.database)
    try:
        return await train_and_publish(data, ModelRegistry(job.models), job.run, progress)
    finally:
        await data.close()


async def train_on_ray(job: JobSpecification, progress: Progress) -> Outcome:
    """Run the job and report its steps as they come.

    Raises what the run raises, LIMIT_REACHED while another one runs, UNAVAILABLE when Ray loses the process.
    """
    actor = await asyncio.to_thread(_created)
    try:
        result = asyncio.ensure_future(_answer(actor.run.remote(job)))
        told = 0
        try:
            while not (await asyncio.wait({result}, timeout=_POLL_S))[0]:
                told += _tell(await _answer(actor.steps.remote(told)), progress)
            outcome: Outcome = result.result()
        finally:
            result.cancel()
        _tell(await _answer(actor.steps.remote(told)), progress)
        return outcome
    finally:
        ray.kill(actor)


def _created() -> Any:
    remote: Any = ray.remote(TrainingProcess)
    try:
        # No CPU is asked for: Ray counts them for placing, and a small machine has given its own to hosts.
        return remote.options(name=JOB_NAME, num_cpus=0, max_restarts=0, max_concurrency=2).remote()
    except ValueError as error:
        raise FlowError(LIMIT_REACHED, "A training run is under way already. Wait for its end.") from error
    except ray_exceptions.RayError as error:
        raise FlowError(UNAVAILABLE, f"Ray did not start the training job: {type(error).__name__}.") from error


async def _answer(reference: Any) -> Any:
    try:
        return await asyncio.wrap_future(reference.future())
    except ray_exceptions.RayTaskError as error:
        if isinstance(error.cause, FlowError):
            raise error.cause from None
        raise FlowError(TRAINING_DATA_INVALID, f"Training failed: {error.cause!r}") from error
    except ray_exceptions.RayError as error:
        raise FlowError(UNAVAILABLE, f"The training job is gone: {type(error).__name__}.") from error


def _tell(steps: list[TrainingProgress], progress: Progress) -> int:
    for step in steps:
        progress(step)
    return len(steps)
