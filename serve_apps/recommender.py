"""The Ray Serve application `recommender`: what `ray_config.yaml` imports as `serve_apps.recommender:build`.

A replica answers `recommend` in batches from a `RecommendationEngine` and lets a `ModelWatch` keep it fresh; it owns
both and the thread in which answers are computed. It promises a reply to every request, an error being a reply too, and
that a new version takes over without a request being refused. It imports TensorFlow only once there is a model to load.
"""

import asyncio
import gc
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import msgspec
from pydantic import BaseModel, ConfigDict, Field
from ray import serve
from ray.serve import Application, Deployment

from cluster.kernel.clock import SystemClock
from cluster.kernel.errors import DEADLINE_EXCEEDED, INVALID_REQUEST, FlowError
from serve_apps import model_files
from serve_apps.contracts import RecommendationAnswer, RecommendationReply, RecommendationRequest
from serve_apps.engine import LoadedModel, RecommendationEngine
from serve_apps.model_watch import ModelWatch, Periods
from serve_apps.registry import ModelRegistry
from serve_apps.wiring import models_directory, open_catalogue

MAX_BATCH = 32
BATCH_WAIT_SECONDS = 0.002
MAX_REQUEST_BYTES = 256 * 1024


class LiveSettings(BaseModel):
    """What `user_config` may change while replicas run; what it leaves out is as the application's `args` say."""

    model_config = ConfigDict(extra="forbid")

    pointer_seconds: float = Field(1.0, ge=0.05, le=60)
    catalogue_seconds: float = Field(3.0, ge=0.05, le=3600)


class BuildArguments(LiveSettings):
    """The `args` of the application in `ray_config.yaml`. Relative paths are relative to where Serve's replicas run.

    `models_dir` is a directory or an fsspec URL. Without it a replica reads the models of the installation it runs in,
    as its environment names it.
    """

    models_dir: Path | str | None = None
    model_name: str = Field("two_tower", pattern=r"^[a-z][a-z0-9_]{0,63}$")
    catalogue_file: Path | None = None
    catalogue_limit: int = Field(200_000, ge=1, le=1_000_000)
    threads: int = Field(1, ge=1, le=64)


class Replica:
    """One process of the application; `Recommender` below is this class as a Serve deployment."""

    def __init__(self, arguments: dict[str, Any]) -> None:
        self._arguments = BuildArguments.model_validate(arguments)
        self._clock = SystemClock()
        self._decoder = msgspec.msgpack.Decoder(RecommendationRequest)
        self._encoder = msgspec.msgpack.Encoder()
        self._registry = ModelRegistry(models_directory(self._arguments.models_dir), self._arguments.model_name)
        self._engine = RecommendationEngine(self._clock, self._arguments.catalogue_limit)
        self._answering = ThreadPoolExecutor(max_workers=1, thread_name_prefix="flow-answer")
        self._watch: ModelWatch | None = None
        self._periods = Periods(self._arguments.pointer_seconds, self._arguments.catalogue_seconds)

    async def recommend(self, request: bytes) -> bytes:
        """A msgpack RecommendationRequest to a msgpack RecommendationReply."""
        reply: bytes = await self._batched((request, self._clock.monotonic()))
        return reply

    @serve.batch(max_batch_size=MAX_BATCH, batch_wait_timeout_s=BATCH_WAIT_SECONDS)
    async def _batched(self, waiting: list[tuple[bytes, float]]) -> list[bytes]:
        return await self.answer_all(waiting)

    async def answer_all(self, waiting: list[tuple[bytes, float]]) -> list[bytes]:
        """Replies in the order of `waiting`, which pairs each request with the monotonic second of its arrival."""
        now = self._clock.monotonic()
        read = [self._read(request, arrived, now) for request, arrived in waiting]
        requests = [one for one in read if isinstance(one, RecommendationRequest)]
        answers = iter(await asyncio.get_running_loop().run_in_executor(self._answering, self._engine.answer, requests))
        return [self._reply(one if isinstance(one, FlowError) else next(answers)) for one in read]

    def _read(self, request: bytes, arrived: float, now: float) -> RecommendationRequest | FlowError:
        if len(request) > MAX_REQUEST_BYTES:
            return FlowError(INVALID_REQUEST, "The request is too large.")
        try:
            decoded = self._decoder.decode(request)
        except msgspec.MsgspecError as error:
            return FlowError(INVALID_REQUEST, str(error))
        if arrived + decoded.deadline_ms / 1000 <= now:
            # Nobody waits for it any longer: its part of the work is saved.
            return FlowError(DEADLINE_EXCEEDED, "The recommendation waited past its deadline.")
        return decoded

    def _reply(self, answer: RecommendationAnswer | FlowError) -> bytes:
        if isinstance(answer, FlowError):
            return self._encoder.encode(RecommendationReply(error=answer.to_wire()))
        return self._encoder.encode(RecommendationReply(answer=answer))

    async def status(self) -> dict[str, Any]:
        """{"live", "modelVersion", ...}: what answers, what is refused and why."""
        version = self._engine.model_version
        watch = {} if self._watch is None else self._watch.statistics()
        return {"live": version is not None, "modelVersion": version, **self._engine.statistics(), **watch}

    async def reconfigure(self, user_config: dict[str, Any]) -> None:
        """Serve calls this before the first request, and again whenever `user_config` changes."""
        changed = LiveSettings.model_validate(user_config).model_dump(exclude_unset=True)
        settings = self._arguments.model_copy(update=changed)
        self._periods.pointer, self._periods.catalogue = settings.pointer_seconds, settings.catalogue_seconds
        self._ensure_watching()

    async def check_health(self) -> None:
        """Serve replaces the replica when this raises. A missing model is not an illness."""
        watch = self._ensure_watching()
        if watch.failure is not None:
            raise RuntimeError("the recommender no longer follows its model or its catalogue") from watch.failure

    async def stop(self) -> None:
        """For an owner that outlives the replica; Serve ends the process instead."""
        if self._watch is not None:
            await self._watch.stop()
        self._answering.shutdown(wait=False, cancel_futures=True)

    def _ensure_watching(self) -> ModelWatch:
        """The loops start here and not in `__init__`, which runs outside the replica's event loop."""
        if self._watch is None:
            self._watch = ModelWatch(
                self._engine,
                self._registry,
                self._load,
                lambda: open_catalogue(self._arguments.catalogue_file),
                self._clock,
                self._periods,
            )
            self._watch.start()
        return self._watch

    def _load(self, version: str) -> LoadedModel:
        model = model_files.load(*self._registry.verified(version), self._arguments.threads)
        gc.collect()  # loading leaves cycles that hold the files' bytes
        return model


Recommender: Final[Deployment] = serve.deployment(
    name="Recommender",
    max_ongoing_requests=4 * MAX_BATCH,
    max_queued_requests=4 * MAX_BATCH,
    ray_actor_options={"num_cpus": 0},
    graceful_shutdown_timeout_s=5,
    user_config={},
)(Replica)


def build(args: BuildArguments) -> Application:
    """The application for Serve's configuration file and for `serve.run`."""
    return Recommender.bind(args.model_dump(mode="json"))
