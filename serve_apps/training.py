"""From rows to a published model version.

Called by the command line. `train` splits by time, fits with early stopping, measures against simple models, then fits
once more on everything for as many epochs as were best, because what is newest matters most. It runs in a thread of
its own; TensorFlow is imported there, not with this module. It never makes a version live: that is the caller's choice.
"""

import asyncio
import hashlib
from dataclasses import asdict, dataclass
from importlib.metadata import version as package_version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from cluster.kernel.errors import TRAINING_DATA_INVALID, FlowError
from serve_apps import evaluation
from serve_apps.contracts import POSITIVE_WEIGHT
from serve_apps.data import Dataset, Interactions, Limits, TrainingData, gather
from serve_apps.evaluation import Metrics
from serve_apps.features import FEATURE_VERSION, content_digests, event_features
from serve_apps.model_files import write_candidates
from serve_apps.registry import Manifest, ModelRegistry
from serve_apps.training_settings import Progress, TrainingProgress, TrainingSettings

if TYPE_CHECKING:
    from serve_apps.two_tower import TwoTower

_CODE: Final = ("features.py", "two_tower.py", "model_files.py")


@dataclass(frozen=True, slots=True)
class TrainedModel:
    """A fitted model with what was measured: `results` maps "two_tower" and each simple model to its metrics."""

    model: "TwoTower"
    dataset: Dataset
    results: dict[str, Metrics]
    epochs: int
    settings: TrainingSettings

    def write(self, directory: Path) -> None:
        """Write the version's files; see `model_files`."""
        features = event_features(self.dataset.events)
        digests = tuple(int(digest) for digest in content_digests(features))
        self.model.export(directory)
        write_candidates(directory, tuple(features.ids.tolist()), digests, self.model.event_vectors())


async def train(
    data: TrainingData,
    settings: TrainingSettings | None = None,
    progress: Progress | None = None,
    limits: Limits | None = None,
) -> TrainedModel:
    """Raises FlowError TRAINING_DATA_INVALID when there is nothing to learn from. Cancelling leaves the thread to end
    its run unheard; nothing is published then."""
    report = progress or _silent
    report(TrainingProgress("reading"))
    dataset = await gather(data, limits)
    return await asyncio.to_thread(fit, dataset, settings or TrainingSettings(), report)


async def train_and_publish(
    data: TrainingData,
    registry: ModelRegistry,
    settings: TrainingSettings | None = None,
    progress: Progress | None = None,
) -> Manifest:
    """Train, write the version into the registry and return its manifest. It is not live until it is promoted."""
    trained = await train(data, settings, progress)
    (progress or _silent)(TrainingProgress("writing"))
    return await asyncio.to_thread(publish, trained, registry)


def publish(trained: TrainedModel, registry: ModelRegistry) -> Manifest:
    parameters: dict[str, Any] = {
        "featureVersion": FEATURE_VERSION,
        "epochs": trained.epochs,
        "people": len(trained.dataset.people),
        "events": len(trained.dataset.events),
        "interactions": len(trained.dataset.interactions),
        "settings": asdict(trained.settings),
    }
    return registry.publish(
        trained.write,
        code_version=code_version(),
        data_fingerprint=trained.dataset.fingerprint,
        metrics=trained.results,
        parameters=parameters,
    )


def code_version() -> str:
    """The package's version and a digest of the code that gives a version's files their meaning."""
    digest = hashlib.sha256()
    for name in _CODE:
        digest.update((Path(__file__).parent / name).read_bytes())
    return f"{package_version('flow-server')}+{digest.hexdigest()[:12]}"


def fit(dataset: Dataset, settings: TrainingSettings, report: Progress) -> TrainedModel:
    """Blocks for as long as training takes. See `train`."""
    from serve_apps.fitting import Fitter  # imports TensorFlow

    rows = dataset.interactions
    if not (rows.weight >= POSITIVE_WEIGHT).any():
        raise FlowError(TRAINING_DATA_INVALID, "Nobody liked anything in this data: no interaction counts as positive.")
    fitter = Fitter(dataset, settings, report)
    train_rows, test_rows = split_by_time(rows, settings.test_fraction)
    fit_rows, validation_rows = split_by_time(train_rows, settings.validation_fraction)
    if np.unique(validation_rows.person).size < settings.min_people_to_split:
        model = fitter.fit(rows, settings.epochs_without_split)
        return TrainedModel(model, dataset, {}, settings.epochs_without_split, settings)
    epochs = fitter.best_epochs(fit_rows, validation_rows)
    report(TrainingProgress("measuring"))
    measured = fitter.fit(train_rows, epochs, "measuring")
    likes = liked(train_rows)
    scorers = {
        "two_tower": fitter.scorer(measured),
        "popularity": evaluation.popularity(likes, len(dataset.events)),
    }
    results = {
        name: evaluation.evaluate(scorer, likes, test_rows, seed=settings.seed) for name, scorer in scorers.items()
    }
    report(TrainingProgress("measuring", metrics=results["two_tower"]))
    return TrainedModel(fitter.fit(rows, epochs, "fitting on everything"), dataset, results, epochs, settings)


def liked(rows: Interactions) -> Interactions:
    return rows.take(rows.weight >= POSITIVE_WEIGHT)


def split_by_time(rows: Interactions, fraction: float) -> tuple[Interactions, Interactions]:
    """Each person's newest `fraction` of likes (rounded down) against everything that person did before them."""
    is_liked = rows.weight >= POSITIVE_WEIGHT
    order = np.lexsort((rows.event, rows.at_ms, rows.person))
    held_out = np.zeros(len(rows), bool)
    drop = np.zeros(len(rows), bool)
    people, starts = np.unique(rows.person[order], return_index=True)
    for indices in np.split(order, starts[1:]) if people.size else []:
        likes: npt.NDArray[np.int64] = indices[is_liked[indices]]
        count = int(likes.size * fraction)
        if count == 0:
            continue
        held = likes[-count:]
        held_out[held] = True
        # What came after the first held-out like would tell the model about the future.
        later = indices[np.flatnonzero(indices == held[0])[0] :]
        drop[later] = True
    return rows.take(~(drop | held_out)), rows.take(held_out)


def _silent(progress: TrainingProgress) -> None:
    """Nobody asked to be told."""
