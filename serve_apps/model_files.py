"""The files of one two-tower version: written by training, read by a replica.

`person_tower/` and `event_tower/` are SavedModels with one function, `embed`; `candidates.npy` and `candidates.msgpack`
hold the vectors that training computed for its events. `load` imports TensorFlow, takes seconds and blocks: call it
from a thread. It never decides which version is live.
"""

from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np

from cluster.kernel.errors import MODEL_INVALID, FlowError
from serve_apps.engine import StoredVectors
from serve_apps.features import FEATURE_VERSION, Features, people_features
from serve_apps.registry import Manifest
from serve_apps.retrieval import Vectors

PERSON_TOWER: Final = "person_tower"
EVENT_TOWER: Final = "event_tower"
_VECTORS: Final = "candidates.npy"
_CANDIDATES: Final = "candidates.msgpack"


class _Candidates(msgspec.Struct, frozen=True):
    ids: tuple[str, ...]
    digests: tuple[int, ...]


def write_candidates(directory: Path, ids: tuple[str, ...], digests: tuple[int, ...], vectors: Vectors) -> None:
    """Write the vectors that training computed; row i belongs to `ids[i]`."""
    np.save(directory / _VECTORS, vectors.astype(np.float32), allow_pickle=False)
    (directory / _CANDIDATES).write_bytes(msgspec.msgpack.encode(_Candidates(ids, digests)))


class TwoTowerModel:
    """A version in memory: implements `engine.LoadedModel`."""

    def __init__(self, version: str, person_tower: Any, event_tower: Any, stored: StoredVectors) -> None:
        self.version = version
        self.stored = stored
        self._person_tower = person_tower
        self._event_tower = event_tower

    def embed_people(self, people: Features) -> Vectors:
        return _embed(self._person_tower, people)

    def embed_events(self, events: Features) -> Vectors:
        return _embed(self._event_tower, events)


def load(manifest: Manifest, directory: Path, threads: int) -> TwoTowerModel:
    """Raises FlowError MODEL_INVALID for files that this code cannot serve."""
    if manifest.parameters.get("featureVersion") != FEATURE_VERSION:
        found = manifest.parameters.get("featureVersion")
        raise FlowError(
            MODEL_INVALID,
            f"Model version {manifest.version} has feature version {found}, this code {FEATURE_VERSION}: train again.",
        )
    # Imported here because it costs seconds and hundreds of megabytes, which a replica without a model need not pay.
    from serve_apps.tensorflow_setup import bound_threads, tf

    bound_threads(threads)
    try:
        stored = _read_candidates(directory)
        model = TwoTowerModel(
            manifest.version,
            tf.saved_model.load(str(directory / PERSON_TOWER)),
            tf.saved_model.load(str(directory / EVENT_TOWER)),
            stored,
        )
        width = model.embed_people(people_features([])).shape[1]
        if width != stored.vectors.shape[1] or width != model.embed_events(people_features([])).shape[1]:
            raise ValueError("the towers and the stored vectors differ in width")
    except (OSError, ValueError, KeyError, AttributeError, TypeError, msgspec.MsgspecError, tf.errors.OpError) as error:
        raise FlowError(MODEL_INVALID, f"Model version {manifest.version} cannot be loaded: {error}") from error
    return model


def _read_candidates(directory: Path) -> StoredVectors:
    candidates = msgspec.msgpack.decode((directory / _CANDIDATES).read_bytes(), type=_Candidates)
    vectors: Vectors = np.load(directory / _VECTORS, allow_pickle=False)
    if vectors.ndim != 2 or not len(candidates.ids) == len(candidates.digests) == len(vectors):
        raise ValueError("the stored vectors do not fit their ids")
    return StoredVectors({name: row for row, name in enumerate(candidates.ids)}, candidates.digests, vectors)


def _embed(tower: Any, features: Features) -> Vectors:
    from serve_apps.tensorflow_setup import tf

    ids = tf.constant(features.ids.tolist(), tf.string)
    try:
        vectors: Vectors = tower.embed(ids, features.topics, features.words, features.places).numpy()
    except (ValueError, TypeError, tf.errors.OpError) as error:
        raise FlowError(MODEL_INVALID, f"The model's tower fails: {error}") from error
    return vectors
