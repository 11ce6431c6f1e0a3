"""The Ray Serve application `recommender`: what `ray_config.yaml` imports as `serve_apps.recommender:build`.

A replica answers requests in batches from a `RecommendationEngine` and a `Matching`, and lets a `ModelWatch` keep them
fresh; it owns them and the thread in which answers are computed. It promises a reply to every request, an error being a
reply too, and that a new version takes over without a request being refused. It imports TensorFlow only once there is a
model to load.
"""

import asyncio
import gc
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec
from pydantic import BaseModel, ConfigDict, Field
from ray import serve
from ray.serve import Application, Deployment

from cluster.kernel import priority
from cluster.kernel.clock import SystemClock
from cluster.kernel.errors import DEADLINE_EXCEEDED, INVALID_REQUEST, FlowError
from serve_apps import model_files
from serve_apps.contracts import (
    MatchRequest,
    RecommendationReply,
    RecommendationRequest,
    SimilarRequest,
)
from serve_apps.engine import LoadedModel, RecommendationEngine
from serve_apps.experiments import definition
from serve_apps.experiments.admission import ExperimentStore, admit
from serve_apps.guarded import Guarded
from serve_apps.matchmaking.compatibility import CompatibilityMatcher
from serve_apps.matchmaking.matching import Matching
from serve_apps.model_watch import ModelWatch, Periods
from serve_apps.pipeline.pipeline import Pipeline
from serve_apps.pipeline.plugins import Plugins
from serve_apps.pipeline.ranker_files import read_ranker
from serve_apps.pipeline.rankers import DeepRanker
from serve_apps.pipeline.settings import PipelineSettings
from serve_apps.registry import ModelRegistry
from serve_apps.wiring import models_directory, open_catalogue, open_experiments

MAX_BATCH: Final = 32
MAX_REQUEST_BYTES: Final = 256 * 1024
_COMPUTING_SHARE: Final = 0.8
"""The part of a deadline that may be spent computing; the rest is for the way back."""

Request = RecommendationRequest | SimilarRequest | MatchRequest
R = TypeVar("R", bound=Request)


class LiveSettings(BaseModel):
    """What `user_config` may change while replicas run; what it leaves out is as the application's `args` say."""

    model_config = ConfigDict(extra="forbid")

    pointer_seconds: float = Field(1.0, ge=0.05, le=60)
    catalogue_seconds: float = Field(1.0, ge=0.05, le=3600)
    signals_seconds: float = Field(10.0, ge=0.05, le=3600)
    experiments: list[dict[str, Any]] = []


class BuildArguments(LiveSettings):
    """The `args` of the application in `ray_config.yaml`. Relative paths are relative to where Serve's replicas run.

    `models_dir` is a directory or an fsspec URL. Without it a replica reads the models of the installation it runs in,
    as its environment names it.
    """

    models_dir: Path | str | None = None
    model_name: str = Field("two_tower", pattern=r"^[a-z][a-z0-9_]{0,63}$")
    catalogue_file: Path | None = None
    catalogue_limit: int = Field(100_000, ge=1, le=1_000_000)
    """The most events that a replica reads and holds, those that end soonest; no other number limits them."""
    threads: int = Field(1, ge=1, le=64)
    plugins_dir: Path = Path()
    """Where the packages of `pipeline.plugins` are looked for, beside what is installed."""
    pipeline: PipelineSettings = PipelineSettings()


class Replica:
    """One process of the application; `Recommender` below is this class as a Serve deployment."""

    def __init__(self, arguments: dict[str, Any]) -> None:
        priority.restore()
        self._arguments = BuildArguments.model_validate(arguments)
        self._clock = SystemClock()
        self._encoder = msgspec.msgpack.Encoder()
        self._registry = ModelRegistry(models_directory(self._arguments.models_dir), self._arguments.model_name)
        settings = self._arguments.pipeline
        self._guard = Guarded()
        if settings.plugins:
            sys.path.append(str(self._arguments.plugins_dir.resolve()))
        plugins = Plugins(settings.plugins, self._guard)
        self._declared = definition.parse(self._arguments.experiments)
        self._refused_experiments: dict[str, str] = {}
        self._experiment_store: ExperimentStore | None = None
        self._pipeline = Pipeline(settings, plugins, self._declared)
        self._engine = RecommendationEngine(self._clock, self._arguments.catalogue_limit, self._pipeline)
        self._matching = Matching(CompatibilityMatcher(settings.matching), plugins.matcher, self._guard)
        self._answering = ThreadPoolExecutor(max_workers=1, thread_name_prefix="flow-answer")
        self._watch: ModelWatch | None = None
        self._periods = Periods(
            self._arguments.pointer_seconds, self._arguments.catalogue_seconds, self._arguments.signals_seconds
        )

    async def recommend(self, requests: list[bytes]) -> list[bytes]:
        """msgpack RecommendationRequests to msgpack RecommendationReplies, in order; at most `MAX_BATCH`."""
        return await self._answered(requests, RecommendationRequest, self._recommended)

    async def similar(self, requests: list[bytes]) -> list[bytes]:
        """The same for SimilarRequests."""
        return await self._answered(requests, SimilarRequest, lambda asked, _: [self._similar(one) for one in asked])

    async def match(self, requests: list[bytes]) -> list[bytes]:
        """The same for MatchRequests."""
        return await self._answered(requests, MatchRequest, lambda asked, _: [self._matched(one) for one in asked])

    async def _answered(
        self,
        requests: list[bytes],
        kind: type[R],
        compute: Callable[[Sequence[R], float], list[RecommendationReply]],
    ) -> list[bytes]:
        """A reply to each; those that nobody waits for any longer when their turn comes are saved the work."""
        arrived = self._clock.monotonic()
        if len(requests) > MAX_BATCH:
            refusal = _refused(FlowError(INVALID_REQUEST, f"At most {MAX_BATCH} requests are answered at once."))
            return [self._encoder.encode(refusal) for _ in requests]
        decoder = msgspec.msgpack.Decoder(kind)
        return await asyncio.get_running_loop().run_in_executor(
            self._answering, lambda: self._compute(requests, decoder, arrived, compute)
        )

    def _compute(
        self,
        requests: list[bytes],
        decoder: "msgspec.msgpack.Decoder[R]",
        arrived: float,
        compute: Callable[[Sequence[R], float], list[RecommendationReply]],
    ) -> list[bytes]:
        now = self._clock.monotonic()
        read = [_read(request, decoder, now - arrived) for request in requests]
        asked = [one for one in read if not isinstance(one, FlowError)]
        found: list[RecommendationReply] = []
        if asked:
            until = arrived + min(one.deadline_ms for one in asked) / 1000 * _COMPUTING_SHARE
            found = compute(asked, until)
        replies = iter(found)
        return [self._encoder.encode(_refused(one) if isinstance(one, FlowError) else next(replies)) for one in read]

    def _recommended(self, asked: Sequence[RecommendationRequest], until: float) -> list[RecommendationReply]:
        answers = self._engine.answer(asked, until)
        return [_refused(one) if isinstance(one, FlowError) else RecommendationReply(answer=one) for one in answers]

    def _similar(self, request: SimilarRequest) -> RecommendationReply:
        try:
            return RecommendationReply(answer=self._engine.similar(request))
        except FlowError as error:
            return _refused(error)

    def _matched(self, request: MatchRequest) -> RecommendationReply:
        try:
            return RecommendationReply(matches=self._matching.answer(request))
        except FlowError as error:
            return _refused(error)

    async def status(self) -> dict[str, Any]:
        """{"live", "modelVersion", ...}: what answers, what is refused and why."""
        version = self._engine.model_version
        watch = {} if self._watch is None else self._watch.statistics()
        return {
            "live": version is not None,
            "modelVersion": version,
            **self._engine.statistics(),
            **watch,
            "plugins": self._guard.statistics(),
            "experiments": [experiment.key for experiment in self._pipeline.experiments],
            "refusedExperiments": self._refused_experiments,
        }

    async def reconfigure(self, user_config: dict[str, Any]) -> None:
        """Serve calls this before the first request, and again whenever `user_config` changes.

        Raises for experiments that cannot run; the ones before stay.
        """
        changed = LiveSettings.model_validate(user_config).model_dump(exclude_unset=True)
        settings = self._arguments.model_copy(update=changed)
        self._declared = definition.parse(settings.experiments)
        await self._admit_experiments()
        self._periods.pointer, self._periods.catalogue = settings.pointer_seconds, settings.catalogue_seconds
        self._periods.signals = settings.signals_seconds
        self._ensure_watching()

    async def check_health(self) -> None:
        """Serve replaces the replica when this raises. A missing model is not an illness."""
        watch = self._ensure_watching()
        if watch.failure is not None:
            raise RuntimeError("the recommender no longer follows its model or its catalogue") from watch.failure
        await self._admit_experiments()

    async def stop(self) -> None:
        """For an owner that outlives the replica; Serve ends the process instead."""
        if self._watch is not None:
            await self._watch.stop()
        self._answering.shutdown(wait=False, cancel_futures=True)
        self._guard.stop()
        if self._experiment_store is not None:
            await self._experiment_store.close()

    async def _admit_experiments(self) -> None:
        """An experiment that was edited while it ran is left out: everybody gets the control; the status tells."""
        if self._declared and self._experiment_store is None and self._arguments.catalogue_file is None:
            self._experiment_store = await open_experiments()
        admitted = await admit(self._declared, self._experiment_store, self._clock.now_ms())
        self._pipeline.experiments, self._refused_experiments = admitted

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

    def _load(self, version: str) -> tuple[LoadedModel, DeepRanker | None]:
        manifest, directory = self._registry.verified(version)
        model = model_files.load(manifest, directory, self._arguments.threads)
        ranker = read_ranker(directory)
        gc.collect()  # loading leaves cycles that hold the files' bytes
        return model, ranker


def _read(request: bytes, decoder: "msgspec.msgpack.Decoder[R]", waited: float) -> R | FlowError:
    if len(request) > MAX_REQUEST_BYTES:
        return FlowError(INVALID_REQUEST, "The request is too large.")
    try:
        decoded = decoder.decode(request)
    except msgspec.MsgspecError as error:
        return FlowError(INVALID_REQUEST, str(error))
    if decoded.deadline_ms / 1000 <= waited:
        return FlowError(DEADLINE_EXCEEDED, "The recommendation waited past its deadline.")
    return decoded


def _refused(error: FlowError) -> RecommendationReply:
    return RecommendationReply(error=error.to_wire())


Recommender: Final[Deployment] = serve.deployment(
    name="Recommender",
    max_ongoing_requests=8,
    max_queued_requests=64,
    ray_actor_options={"num_cpus": 0},
    graceful_shutdown_timeout_s=5,
    user_config={},
)(Replica)


def build(args: BuildArguments) -> Application:
    """The application for Serve's configuration file and for `serve.run`."""
    return Recommender.bind(args.model_dump(mode="json"))
