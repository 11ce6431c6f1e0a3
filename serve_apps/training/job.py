"""From rows to a published version, and to a live one when the gate lets it pass.

Called in the process of a training job and by the command line. `train` compares every kind on a split by time and
fits the one to be served once more on everything. `train_and_publish` also writes it into the registry, reads it back
to see that what was written is what was fitted, and promotes it when it may.
"""

import asyncio
import hashlib
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import version as package_version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from cluster.kernel.errors import MODEL_INVALID, TRAINING_DATA_INVALID, FlowError
from serve_apps import model_files
from serve_apps.data import Dataset, Limits, TrainingData, gather
from serve_apps.features import FEATURE_VERSION, content_digests, event_features, people_features
from serve_apps.metrics import Metrics
from serve_apps.model_files import TWO_TOWER
from serve_apps.models import files, simple
from serve_apps.models import histories as histories_of
from serve_apps.models.histories import LONGEST, Histories
from serve_apps.models.scoring import ScoringModel, Vectors
from serve_apps.pipeline.ranker_files import read_ranker, write_ranker
from serve_apps.pipeline.rankers import DeepRanker
from serve_apps.pipeline.ranking_examples import examples
from serve_apps.registry import Gate, Manifest, ModelRegistry
from serve_apps.training.comparison import Bench, Comparison, Parameters, cut
from serve_apps.training.gate import Challenge
from serve_apps.training.report import best
from serve_apps.training.settings import (
    BEST,
    Progress,
    RetrainingSettings,
    TrainingProgress,
    TrainingSettings,
    silent,
)

if TYPE_CHECKING:
    from serve_apps.two_tower import TwoTower

_CODE: Final = ("features.py", "two_tower.py", "model_files.py", "models/histories.py", "models/scoring.py")
_CHECKED_PEOPLE: Final = 64


@dataclass(frozen=True, slots=True)
class TrainedModel:
    """A fitted model of one `kind` with what was measured: `results` has the metrics of every kind compared."""

    kind: str
    model: "TwoTower | ScoringModel"
    dataset: Dataset
    results: dict[str, Metrics]
    recipe: Parameters
    settings: TrainingSettings
    ranker: DeepRanker | None = None
    """None where the fixed weights of the linear one are no worse."""

    @property
    def histories(self) -> Histories:
        return histories_of.of_interactions(self.dataset.interactions, len(self.dataset.people))

    def event_vectors(self) -> Vectors:
        return self.model.event_vectors()

    def person_vectors(self, people: int | None = None) -> Vectors:
        """Of all people, or of the first so many."""
        size = len(self.dataset.people) if people is None else min(people, len(self.dataset.people))
        rows = np.arange(size, dtype=np.int32)
        histories = self.histories.take(rows).shortened(LONGEST)
        return self.people_at(histories, rows)

    def people_at(self, histories: Histories, people: npt.NDArray[np.int32]) -> Vectors:
        """Vectors of `people` (rows) as they were with these histories."""
        if self.kind == TWO_TOWER:
            return self.model.person_vectors(histories.newest(LONGEST), people)  # type: ignore[call-arg, arg-type]
        return self.model.person_vectors(histories)  # type: ignore[call-arg, arg-type]

    def write(self, directory: Path) -> None:
        """Write the version's files; see `models.files` and `model_files`."""
        features = event_features(self.dataset.events)
        digests = tuple(int(digest) for digest in content_digests(features))
        files.write_candidates(directory, tuple(features.ids.tolist()), digests, self.event_vectors())
        files.write_people(directory, tuple(person.user_id for person in self.dataset.people), self.histories)
        if self.kind == TWO_TOWER:
            self.model.export(directory)  # type: ignore[union-attr]
        else:
            simple.write(directory, self.model)
        if self.ranker is not None:
            write_ranker(directory, self.ranker)


@dataclass(frozen=True, slots=True)
class Outcome:
    """A published version and whether it is live; `reason` says why, or why not."""

    manifest: Manifest
    promoted: bool
    reason: str


@dataclass(frozen=True, slots=True)
class Run:
    """What a training run is asked for. `serve` is the kind to publish, or "best" for the winner of the comparison."""

    settings: TrainingSettings = field(default_factory=TrainingSettings)
    rules: RetrainingSettings = field(default_factory=RetrainingSettings)
    serve: str = TWO_TOWER
    promote: bool = True
    at_least: int = 1
    """Fewer interactions are refused."""


async def train(
    data: TrainingData,
    settings: TrainingSettings | None = None,
    progress: Progress | None = None,
    limits: Limits | None = None,
    serve: str = TWO_TOWER,
) -> TrainedModel:
    """Raises FlowError TRAINING_DATA_INVALID when there is nothing to learn from. Cancelling leaves the thread to end
    its run unheard; nothing is published then."""
    report = progress or silent
    report(TrainingProgress("reading"))
    dataset = await gather(data, limits)
    run = Run(settings or TrainingSettings(), serve=serve)
    return (await asyncio.to_thread(_fitted, dataset, run, None, report))[0]


async def train_and_publish(
    data: TrainingData, registry: ModelRegistry, run: Run | None = None, progress: Progress | None = None
) -> Outcome:
    """Train, write the version into the registry and, unless told otherwise, make it live when the gate lets it."""
    report = progress or silent
    report(TrainingProgress("reading"))
    wanted = run or Run()
    dataset = await gather(data)
    if len(dataset.interactions) < wanted.at_least:
        found = f"{len(dataset.interactions):,} interactions, where {wanted.at_least:,} are asked for."
        raise FlowError(TRAINING_DATA_INVALID, found)
    return await asyncio.to_thread(_published, dataset, registry, wanted, report)


def _published(dataset: Dataset, registry: ModelRegistry, run: Run, report: Progress) -> Outcome:
    trained, gate = _fitted(dataset, run, registry, report)
    report(TrainingProgress("writing"))
    manifest = publish(trained, registry, gate)
    check_written(trained, manifest, registry)
    if gate is not None and gate.passed and run.promote:
        registry.promote(manifest.version)
        return Outcome(manifest, promoted=True, reason=gate.reason)
    return Outcome(
        manifest, promoted=False, reason=gate.reason if gate and not gate.passed else "It was not asked for."
    )


def _fitted(
    dataset: Dataset, run: Run, registry: ModelRegistry | None, report: Progress
) -> tuple[TrainedModel, Gate | None]:
    """Blocks for as long as training takes."""
    settings = run.settings
    bench = Bench(dataset, settings, report)
    parts = cut(dataset.interactions, settings)
    comparison = bench.compare(parts) if bench.can_tune(parts) else Comparison()
    kind = (best(comparison.results) or TWO_TOWER) if run.serve == BEST else run.serve
    recipe = comparison.parameters.get(kind)
    if recipe is None:
        recipe = bench.untuned(kind)
        comparison.parameters[kind] = recipe
    gate = None
    if registry is not None:
        report(TrainingProgress("comparing with the live version"))
        gate = _gate(Challenge(bench, parts, comparison, kind, settings), registry, run)
    stage = f"fitting {kind} on everything"
    report(TrainingProgress(stage))
    model: TwoTower | ScoringModel
    if kind == TWO_TOWER:
        model = bench.fit_two_tower(recipe, dataset.interactions, stage)
    else:
        model = bench.fit_simple(kind, recipe, dataset.interactions, serve=True)
    trained = TrainedModel(kind, model, dataset, comparison.results, recipe, settings)
    report(TrainingProgress("fitting the ranker"))
    return replace(trained, ranker=_ranker(trained)), gate


def _ranker(trained: TrainedModel) -> DeepRanker | None:
    from serve_apps.pipeline.ranker_training import fit_ranker  # imports TensorFlow

    learned = examples(trained.dataset, trained.people_at, trained.event_vectors(), seed=trained.settings.seed)
    return fit_ranker(learned, seed=trained.settings.seed)


def _gate(challenge: Challenge, registry: ModelRegistry, run: Run) -> Gate:
    try:
        pointer = registry.live()
        manifest = None if pointer is None else registry.manifest(pointer.version)
    except FlowError as error:
        return Gate(passed=True, reason=f"What was live cannot be read: {error.message}")
    model: Any = None
    if manifest is not None:
        try:
            model = model_files.load(*registry.verified(manifest.version), run.settings.threads)
        except FlowError as error:
            model = error
    return challenge.judged(manifest, model, run.rules)


def publish(trained: TrainedModel, registry: ModelRegistry, gate: Gate | None = None) -> Manifest:
    rows = trained.dataset.interactions
    parameters: dict[str, Any] = {
        "featureVersion": FEATURE_VERSION,
        "recipe": trained.recipe,
        "people": len(trained.dataset.people),
        "events": len(trained.dataset.events),
        "interactions": len(rows),
        "newestMs": int(rows.at_ms.max()),
        "ranker": "linear" if trained.ranker is None else "deep",
        "settings": asdict(trained.settings),
    }
    try:
        pointer = registry.live()
    except FlowError:
        pointer = None
    return registry.publish(
        trained.write,
        code_version=code_version(),
        data_fingerprint=trained.dataset.fingerprint,
        metrics=trained.results,
        parameters=parameters,
        kind=trained.kind,
        parent=None if pointer is None else pointer.version,
        gate=gate,
        inputs={
            "history": f"event ids, newest first, at most {LONGEST}",
            "person": f"features version {FEATURE_VERSION}",
            "event": f"features version {FEATURE_VERSION}",
        },
        outputs={"vectors": f"float32[n, {trained.event_vectors().shape[1]}]"},
    )


def check_written(trained: TrainedModel, manifest: Manifest, registry: ModelRegistry) -> None:
    """Read the version back: it must give the vectors that were fitted. Raises FlowError MODEL_INVALID."""
    _, directory = registry.verified(manifest.version)
    loaded = model_files.load(manifest, directory, trained.settings.threads)
    if (read_ranker(directory) is None) != (trained.ranker is None):
        raise FlowError(MODEL_INVALID, f"Model version {manifest.version} lost its ranker.")
    wanted = trained.person_vectors(_CHECKED_PEOPLE)
    found = loaded.embed_people(people_features(trained.dataset.people[:_CHECKED_PEOPLE]))
    if wanted.shape != found.shape or not np.allclose(wanted, found, rtol=1e-3, atol=1e-4):
        raise FlowError(MODEL_INVALID, f"Model version {manifest.version} answers otherwise than what was fitted.")


def code_version() -> str:
    """The package's version and a digest of the code that gives a version's files their meaning."""
    digest = hashlib.sha256()
    for name in _CODE:
        digest.update((Path(__file__).parents[1] / name).read_bytes())
    return f"{package_version('flow-server')}+{digest.hexdigest()[:12]}"
