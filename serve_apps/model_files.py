"""Loads a version of any kind: what a replica calls, and the files of the two-tower kind.

`person_tower/` and `event_tower/` are SavedModels with one function each, `embed`; `models.files` has the rest. `load`
takes seconds for a two-tower version, imports TensorFlow then, and blocks: call it from a thread. It never decides
which version is live.
"""

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, Final

from cluster.kernel.errors import MODEL_INVALID, FlowError
from serve_apps.contracts import ModelPerson, ScoredEvent
from serve_apps.engine import StoredVectors
from serve_apps.features import FEATURE_VERSION, Features, people_features
from serve_apps.models import files, person_tower, simple
from serve_apps.models.histories import LONGEST
from serve_apps.models.reader import KnownEvents, KnownPeople, Vectors, best
from serve_apps.models.simple import SimpleModel
from serve_apps.registry import Manifest

PERSON_TOWER: Final = "person_tower"
EVENT_TOWER: Final = "event_tower"
TWO_TOWER: Final = "two_tower"


class TwoTowerModel:
    """A version in memory: implements `reader.ServedModel` and `engine.LoadedModel`. A person is read without
    TensorFlow where the person tower is Flow's own."""

    kind = TWO_TOWER

    def __init__(
        self, version: str, towers: tuple[Any, Any], events: KnownEvents, vectors: Vectors, people: KnownPeople
    ) -> None:
        self.version = version
        self.stored = StoredVectors(events.rows, events.digests, vectors)
        self._person_tower, self._event_tower = towers
        self._person_tables = person_tower.read(self._person_tower)
        self._events = events
        self._people = people

    def embed_people(self, people: Features, histories: Sequence[Sequence[str] | None] | None = None) -> Vectors:
        read = self._people.read(people.ids.tolist(), histories, self._events).newest(LONGEST)
        if self._person_tables is not None:
            return self._person_tables.embed(read, people.topics, people.words, people.places)
        return _called(self._person_tower, read, people)

    def embed_events(self, events: Features) -> Vectors:
        from serve_apps.tensorflow_setup import tf

        return _called(self._event_tower, tf.constant(events.ids.tolist(), tf.string), events)

    def retrieve(
        self, user_id: str, history: Sequence[str] | None, k: int, seen: Collection[str] = ()
    ) -> tuple[ScoredEvent, ...]:
        features = people_features([ModelPerson(user_id=user_id)])
        vectors = self.embed_people(features, None if history is None else [history])
        return best((vectors @ self.stored.vectors.T)[0], self._events, k, seen)


def load(manifest: Manifest, directory: Path, threads: int) -> TwoTowerModel | SimpleModel:
    """Raises FlowError MODEL_INVALID for files that this code cannot serve."""
    if manifest.parameters.get("featureVersion") != FEATURE_VERSION:
        found = manifest.parameters.get("featureVersion")
        raise FlowError(
            MODEL_INVALID,
            f"Model version {manifest.version} has feature version {found}, this code {FEATURE_VERSION}: train again.",
        )
    if manifest.kind == TWO_TOWER:
        return _two_tower(manifest.version, directory, threads)
    try:
        return simple.load(manifest.version, manifest.kind, directory)
    except files.UNREADABLE as error:
        raise _unloadable(manifest.version, error) from error


def _two_tower(version: str, directory: Path, threads: int) -> TwoTowerModel:
    # Imported here because it costs seconds and hundreds of megabytes, which a replica without a model need not pay.
    from serve_apps.tensorflow_setup import bound_threads, tf

    bound_threads(threads)
    try:
        events, vectors = files.read_candidates(directory)
        people = files.read_people(directory, len(events.ids))
        towers = tuple(tf.saved_model.load(str(directory / name)) for name in (PERSON_TOWER, EVENT_TOWER))
        model = TwoTowerModel(version, (towers[0], towers[1]), events, vectors, people)
        nobody = people_features([])
        width = model.embed_people(nobody).shape[1]
        if width != vectors.shape[1] or width != model.embed_events(nobody).shape[1]:
            raise ValueError("the towers and the stored vectors differ in width")
    except (*files.UNREADABLE, AttributeError, TypeError, tf.errors.OpError) as error:
        raise _unloadable(version, error) from error
    return model


def _unloadable(version: str, error: BaseException) -> FlowError:
    return FlowError(MODEL_INVALID, f"Model version {version} cannot be loaded: {error}")


def _called(tower: Any, first: Any, features: Features) -> Vectors:
    from serve_apps.tensorflow_setup import tf

    try:
        vectors: Vectors = tower.embed(first, features.topics, features.words, features.places).numpy()
    except (ValueError, TypeError, AttributeError, tf.errors.OpError) as error:
        raise FlowError(MODEL_INVALID, f"The model's tower fails: {error}") from error
    return vectors
