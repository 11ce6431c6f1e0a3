"""The two-tower model: a person's vector, an event's vector, and how they are learned together.

Built and fitted by `training.fitting`; a replica only loads the towers it exports. A person is what that person liked,
the newest weighing most, and the interests and place of the profile; no id of a person is learned, so a first like
counts at once. An event is its id (one row for ids never seen) and its content, whose table both towers share; it also
has a bias. Tables start from a linear model's factors (`Start`), so that fitting begins where the linear model ends.
Nothing here reads data or decides when to stop.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from serve_apps.features import CELL_DEGREES, TOPICS, WORDS, Buckets, Features
from serve_apps.model_files import EVENT_TOWER, PERSON_TOWER
from serve_apps.models.histories import LONGEST
from serve_apps.retrieval import Vectors
from serve_apps.tensorflow_setup import tf

import tensorflow_recommenders as tfrs  # isort: skip  # Keras 2 must have been chosen by then


class Start(NamedTuple):
    """Where the tables begin; each has a row for every event after row 0, which means an event never seen.

    `liked` are events as parts of a history, `events` as candidates, without what `content` (one row a bucket) says of
    them; `nobody` is the vector of a person of whom nothing is known.
    """

    liked: Vectors
    events: Vectors
    content: Vectors
    nobody: Vectors


class Shape(NamedTuple):
    """What the model is made of. `scale` is where the learned inverse temperature starts, `decay` after how many newer
    likes one weighs half; `history_drop` and `id_drop` are shares of a batch that learn to do without."""

    scale: float
    decay: float
    history_drop: float
    id_drop: float
    l2: float


class PersonTower(tf.keras.layers.Layer):  # type: ignore[misc]
    """A history (rows + 1, newest first, 0 for nothing) and tokens to a vector."""

    def __init__(self, start: Start, content: Any, shape: Shape) -> None:
        super().__init__(name="person_tower")
        self.liked = tf.Variable(start.liked, name="liked")
        self.nobody = tf.Variable(start.nobody[np.newaxis, :], name="nobody")
        places = np.log(1.0 / (1.0 + np.arange(LONGEST) / shape.decay)).astype(np.float32)
        self.places = tf.Variable(places[np.newaxis, :], name="places")
        self.scale = tf.Variable(np.float32(np.log(shape.scale)), name="scale")
        self.content = content
        self.residual = _residual(start.liked.shape[1])
        self._drop = shape.history_drop

    def call(self, history: Any, topics: Any, words: Any, places: Any, training: bool = False) -> Any:
        there = tf.cast(history > 0, tf.float32)
        if training:
            there *= tf.cast(tf.random.uniform((tf.shape(history)[0], 1)) >= self._drop, tf.float32)
        weights = there * tf.exp(self.places[:, : tf.shape(history)[1]])
        length = tf.sqrt(tf.reduce_sum(weights**2, axis=1, keepdims=True))
        past = tf.einsum("bh,bhd->bd", weights, tf.gather(self.liked, history)) / tf.maximum(length, 1e-3)
        base = past + tf.cast(length == 0.0, tf.float32) * self.nobody
        base += sum(_mean(self.content, tokens) for tokens in (topics, words, places))
        vector = tf.exp(self.scale) * (base + self.residual(base))
        return tf.concat((vector, tf.ones((tf.shape(vector)[0], 1))), axis=1)


class EventTower(tf.keras.layers.Layer):  # type: ignore[misc]
    """An event's row + 1 (0 for one never seen) and tokens to a vector."""

    def __init__(self, ids: Sequence[str], start: Start, content: Any, shape: Shape) -> None:
        super().__init__(name="event_tower")
        # The vocabulary is given, not adapted later: its size is final before the table is sized by it.
        self.lookup = tf.keras.layers.StringLookup(vocabulary=list(ids), mask_token=None, num_oov_indices=1)
        self.events = tf.Variable(start.events, name="events")
        self.bias = tf.Variable(np.zeros((len(start.events), 1), np.float32), name="bias")
        self.content = content
        self.residual = _residual(start.events.shape[1])
        self._drop = shape.id_drop

    def call(self, rows: Any, topics: Any, words: Any, places: Any, training: bool = False) -> Any:
        if training:
            # An event known by its id alone keeps it more often: without it there is little to learn from.
            has_content = tf.reduce_any(tf.concat((topics, words, places), axis=1) > 0, axis=1)
            rate = tf.where(has_content, self._drop, self._drop / 5)
            rows = tf.where(tf.random.uniform(tf.shape(rows)) < rate, tf.zeros_like(rows), rows)
        base = tf.gather(self.events, rows) + sum(_mean(self.content, tokens) for tokens in (topics, words, places))
        return tf.concat((base + self.residual(base), tf.gather(self.bias, rows)), axis=1)


def _residual(dimension: int) -> Any:
    """Zero at first: the towers start as plain sums."""
    return tf.keras.Sequential(
        [
            tf.keras.layers.Dense(2 * dimension, activation="relu"),
            tf.keras.layers.Dense(dimension, kernel_initializer="zeros"),
        ]
    )


def _mean(content: Any, tokens: Any) -> Any:
    """A sum over the tokens present, scaled so that many count for more than one, but not in proportion."""
    present = tf.cast(tokens > 0, tf.float32)[:, :, tf.newaxis]
    count = tf.maximum(tf.reduce_sum(present, axis=1), 1.0)
    return tf.reduce_sum(tf.gather(content, tokens) * present, axis=1) / tf.sqrt(count)


_TOKENS = (
    tf.TensorSpec([None, TOPICS], tf.int32, "topics"),
    tf.TensorSpec([None, WORDS], tf.int32, "words"),
    tf.TensorSpec([None, len(CELL_DEGREES)], tf.int32, "places"),
)


class _ExportedPerson(tf.Module):  # type: ignore[misc]
    """What the SavedModel of the person tower holds: the tower and its function `embed`."""

    def __init__(self, tower: PersonTower) -> None:
        super().__init__()
        self.tower = tower

    @tf.function(input_signature=[tf.TensorSpec([None, LONGEST], tf.int32, "history"), *_TOKENS])  # type: ignore[untyped-decorator]
    def embed(self, history: Any, topics: Any, words: Any, places: Any) -> Any:
        return self.tower(history, topics, words, places)


class _ExportedEvent(tf.Module):  # type: ignore[misc]
    """The same of the event tower; it takes the ids as they are."""

    def __init__(self, tower: EventTower) -> None:
        super().__init__()
        self.tower = tower

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "ids"), *_TOKENS])  # type: ignore[untyped-decorator]
    def embed(self, ids: Any, topics: Any, words: Any, places: Any) -> Any:
        return self.tower(self.tower.lookup(ids), topics, words, places)


class TwoTower(tfrs.Model):  # type: ignore[misc]
    """Retrieval over rows of the tables that it was built with.

    A batch is {"history": rows + 1, newest first, "person", "event", "negatives": rows}. A person's like is told from
    the likes of the others in the batch and from events drawn at random; `probabilities` says how likely each event is
    to be there, so that what is liked by many is not held against it.
    """

    def __init__(
        self, people: Features, events: Features, start: Start, probabilities: npt.NDArray[np.float32], shape: Shape
    ) -> None:
        super().__init__()
        self._l2 = shape.l2
        content = tf.Variable(start.content, name="content")
        self.person_tower = PersonTower(start, content, shape)
        self.event_tower = EventTower(events.ids.tolist(), start, content, shape)
        # No FactorizedTopK: it counts ties as hits and leaves seen events in. `evaluation` measures.
        self.retrieval_task = tfrs.tasks.Retrieval(remove_accidental_hits=True)
        self._people = _tokens(people)
        self._events = _tokens(events)
        self._probabilities = tf.constant(probabilities)

    def compute_loss(self, inputs: dict[str, Any], training: bool = False) -> Any:
        candidates = tf.concat((inputs["event"], inputs["negatives"]), axis=0)
        person = self.person_tower(
            inputs["history"], *(tf.gather(column, inputs["person"]) for column in self._people), training=training
        )
        event = self.event_tower(
            candidates + 1, *(tf.gather(column, candidates) for column in self._events), training=training
        )
        retrieval = self.retrieval_task(
            person,
            event,
            candidate_sampling_probability=tf.gather(self._probabilities, candidates),
            candidate_ids=candidates,
            compute_metrics=False,
        ) / tf.cast(tf.shape(person)[0], tf.float32)
        # On the vectors and not on the tables: what is not in the batch costs nothing and is not pulled about.
        length = tf.reduce_mean(tf.reduce_sum(person**2, axis=1)) + tf.reduce_mean(tf.reduce_sum(event**2, axis=1))
        return retrieval + self._l2 * length

    def person_vectors(self, histories: npt.NDArray[np.int32], people: npt.NDArray[np.integer]) -> Vectors:
        """The vectors of `people` (rows) with these histories."""
        columns = [tf.gather(column, people) for column in self._people]
        return _in_blocks(self.person_tower, (tf.constant(histories), *columns))

    def event_vectors(self) -> Vectors:
        rows = tf.range(1, len(self._probabilities) + 1)
        return _in_blocks(self.event_tower, (rows, *self._events))

    def export(self, directory: Path) -> None:
        """Write both towers as SavedModels; each works alone."""
        tf.saved_model.save(_ExportedPerson(self.person_tower), str(directory / PERSON_TOWER))
        tf.saved_model.save(_ExportedEvent(self.event_tower), str(directory / EVENT_TOWER))


def _tokens(features: Features) -> tuple[Any, ...]:
    return tuple(tf.constant(_used(column)) for column in (features.topics, features.words, features.places))


def _used(column: Buckets) -> Buckets:
    """Without the last places that no row uses: what is not there need not be multiplied."""
    return column[:, : int((column > 0).sum(axis=1).max(initial=0))]


def _in_blocks(tower: Any, table: tuple[Any, ...], rows: int = 8_192) -> Vectors:
    blocks: list[Vectors] = [
        tower(*(column[start : start + rows] for column in table)).numpy()
        for start in range(0, max(len(table[0]), 1), rows)
    ]
    return np.concatenate(blocks)
