"""The two-tower model: a person's vector, an event's vector, and how they are learned together.

Built and fitted by `training`; a replica only loads the towers it exports. Each tower adds an embedding of the id (one
row of it for ids never seen) to embeddings of the content, whose table both towers share; an event also has a bias, so
that what everybody likes need not be spelled out by direction. While fitting, ids or content are dropped at random, so
that each learns to stand alone. Nothing here reads data or decides when to stop.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from serve_apps.features import BUCKETS, CELL_DEGREES, TOPICS, WORDS, Buckets, Features
from serve_apps.model_files import EVENT_TOWER, PERSON_TOWER
from serve_apps.retrieval import Vectors
from serve_apps.tensorflow_setup import tf

import tensorflow_recommenders as tfrs  # isort: skip  # Keras 2 must have been chosen by then


class Shape(NamedTuple):
    """What the model is made of; part of a version's parameters."""

    dimension: int = 64
    rating_weight: float = 1.0
    retrieval_weight: float = 1.0
    dropout: float = 0.1
    l2: float = 0.01


class Tower(tf.keras.layers.Layer):  # type: ignore[misc]
    """Features to vectors. `content` is the embedding table of tokens, shared by both towers."""

    def __init__(self, ids: Sequence[str], content: Any, shape: Shape, *, has_bias: bool, name: str) -> None:
        super().__init__(name=name)
        # The vocabulary is given, not adapted later: its size is final before the embedding is sized by it.
        self.lookup = tf.keras.layers.StringLookup(vocabulary=list(ids), mask_token=None, num_oov_indices=1)
        size = self.lookup.vocabulary_size()
        self.id_embedding = tf.keras.layers.Embedding(
            size, shape.dimension, embeddings_initializer=tf.keras.initializers.RandomNormal(stddev=0.05)
        )
        self.content = content
        self.bias = tf.keras.layers.Embedding(size, 1, embeddings_initializer="zeros") if has_bias else None
        self.hidden = tf.keras.layers.Dense(2 * shape.dimension, activation="relu")
        # Zero at first: the towers start as plain sums, in which equal tokens attract before anything is learned.
        self.output_layer = tf.keras.layers.Dense(shape.dimension, kernel_initializer="zeros")
        self._dropout = shape.dropout

    def call(self, id_rows: Any, topics: Any, words: Any, places: Any, training: bool = False) -> Any:
        kept = 1.0
        if training:
            id_rows, kept = self._drop(id_rows, tf.reduce_any(tf.concat((topics, words, places), axis=1) > 0, axis=1))
        base = self.id_embedding(id_rows) + kept * sum(self._mean(tokens) for tokens in (topics, words, places))
        vector = base + self.output_layer(self.hidden(base))
        extra = tf.ones((tf.shape(vector)[0], 1)) if self.bias is None else self.bias(id_rows)
        return tf.concat((vector, extra), axis=1)

    def _drop(self, id_rows: Any, has_content: Any) -> tuple[Any, Any]:
        """Some rows lose their id, others their content, never both: each must do without the other now and then."""
        # An event known by its id alone keeps it more often: without it there is little to learn from.
        rate = tf.where(has_content, self._dropout, self._dropout / 5 if self.bias else self._dropout)
        chance = tf.random.uniform(tf.shape(id_rows))
        kept = tf.cast(chance < 1.0 - self._dropout, tf.float32)[:, tf.newaxis]
        return tf.where(chance < rate, tf.zeros_like(id_rows), id_rows), kept

    def _mean(self, tokens: Any) -> Any:
        """A sum over the tokens present, scaled so that many count for more than one, but not in proportion."""
        present = tf.cast(tokens > 0, tf.float32)[:, :, tf.newaxis]
        count = tf.maximum(tf.reduce_sum(present, axis=1), 1.0)
        return tf.reduce_sum(self.content(tokens) * present, axis=1) / tf.sqrt(count)


class _Exported(tf.Module):  # type: ignore[misc]
    """What a SavedModel of one tower holds: the tower and its function `embed`."""

    def __init__(self, tower: Tower) -> None:
        super().__init__()
        self.tower = tower

    @tf.function(  # type: ignore[untyped-decorator]
        input_signature=[
            tf.TensorSpec([None], tf.string, "ids"),
            tf.TensorSpec([None, TOPICS], tf.int32, "topics"),
            tf.TensorSpec([None, WORDS], tf.int32, "words"),
            tf.TensorSpec([None, len(CELL_DEGREES)], tf.int32, "places"),
        ]
    )
    def embed(self, ids: Any, topics: Any, words: Any, places: Any) -> Any:
        return self.tower(self.tower.lookup(ids), topics, words, places)


class TwoTower(tfrs.Model):  # type: ignore[misc]
    """Retrieval and rating, learned together over rows of the tables that it was built with.

    A batch is {"person", "event": rows of the tables, "weight": 0 to 1, "liked": 1.0 or 0.0}. Events of rows that were
    not liked serve retrieval as negatives; the rating head learns from every row.
    """

    def __init__(self, people: Features, events: Features, probabilities: Vectors, shape: Shape) -> None:
        super().__init__()
        self._shape = shape
        content = tf.keras.layers.Embedding(
            BUCKETS, shape.dimension, embeddings_initializer=tf.keras.initializers.RandomNormal(stddev=0.1)
        )
        self.person_tower = Tower(people.ids.tolist(), content, shape, has_bias=False, name="person_tower")
        self.event_tower = Tower(events.ids.tolist(), content, shape, has_bias=True, name="event_tower")
        self.rating_head = tf.keras.Sequential(
            [
                tf.keras.layers.Dense(256, activation="relu"),
                tf.keras.layers.Dropout(0.5),
                tf.keras.layers.Dense(64, activation="relu"),
                tf.keras.layers.Dense(1),
            ]
        )
        # No FactorizedTopK: it counts ties as hits and leaves seen events in. `evaluation` measures.
        self.retrieval_task = tfrs.tasks.Retrieval(remove_accidental_hits=True)
        self.rating_task = tfrs.tasks.Ranking(loss=tf.keras.losses.MeanSquaredError())
        self._people = _table(self.person_tower, people)
        self._events = _table(self.event_tower, events)
        self._probabilities = tf.constant(probabilities)

    def compute_loss(self, inputs: dict[str, Any], training: bool = False) -> Any:
        # Liked rows first: they are retrieval's queries, and its task finds a query's event in the same place.
        order = tf.argsort(inputs["liked"], direction="DESCENDING", stable=True)
        rows = {name: tf.gather(column, order) for name, column in inputs.items()}
        person = self.person_tower(*(tf.gather(column, rows["person"]) for column in self._people), training=training)
        event = self.event_tower(*(tf.gather(column, rows["event"]) for column in self._events), training=training)
        liked = tf.reduce_sum(inputs["liked"])
        retrieval = self.retrieval_task(
            person[: tf.cast(liked, tf.int32)],
            event,
            candidate_sampling_probability=tf.gather(self._probabilities, rows["event"]),
            candidate_ids=rows["event"],
            compute_metrics=False,
        ) / tf.maximum(liked, 1.0)
        rating = self.rating_task(
            labels=rows["weight"][:, tf.newaxis],
            predictions=self.rating_head(tf.concat((person, event), axis=1), training=training),
        )
        # On the vectors and not on the tables: what is not in the batch costs nothing and is not pulled about.
        length = tf.reduce_mean(tf.reduce_sum(person**2, axis=1) + tf.reduce_sum(event**2, axis=1))
        tasks = self._shape.retrieval_weight * retrieval + self._shape.rating_weight * rating
        return tasks + self._shape.l2 * length

    def person_vectors(self) -> Vectors:
        return _in_blocks(self.person_tower, self._people)

    def event_vectors(self) -> Vectors:
        return _in_blocks(self.event_tower, self._events)

    def export(self, directory: Path) -> None:
        """Write both towers as SavedModels; each works alone."""
        for name, tower in ((PERSON_TOWER, self.person_tower), (EVENT_TOWER, self.event_tower)):
            tf.saved_model.save(_Exported(tower), str(directory / name))


def _table(tower: Tower, features: Features) -> tuple[Any, ...]:
    ids = tower.lookup(tf.constant(features.ids.tolist(), tf.string))
    return (ids, *(tf.constant(_used(column)) for column in (features.topics, features.words, features.places)))


def _used(column: Buckets) -> Buckets:
    """Without the last places that no row uses: what is not there need not be multiplied."""
    return column[:, : int((column > 0).sum(axis=1).max(initial=0))]


def _in_blocks(tower: Tower, table: tuple[Any, ...], rows: int = 8_192) -> Vectors:
    blocks: list[npt.NDArray[np.float32]] = [
        tower(*(column[start : start + rows] for column in table)).numpy() for start in range(0, len(table[0]), rows)
    ]
    return np.concatenate(blocks)
