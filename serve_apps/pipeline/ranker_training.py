"""Fits the deep ranker; imports TensorFlow, so only training may import this module.

Called by training with examples; blocks. The newest `validation` part of the examples decides when to stop. It returns
None, and the linear ranker stays, when there is too little to learn from or the fit is no better than the linear
ranker on that part: a ranker that knows less than fixed weights is not worth serving.
"""

from typing import Any, Final

import numpy as np

from serve_apps.pipeline.rankers import LINEAR_WEIGHTS, DeepRanker, Layer, Matrix
from serve_apps.pipeline.ranking_examples import Examples
from serve_apps.pipeline.ranking_features import NAMES
from serve_apps.tensorflow_setup import tf

CROSSES: Final = 2
DENSE: Final = (64, 32)
MIN_EXAMPLES: Final = 1_000
_MAX_EPOCHS: Final = 20
_PATIENCE: Final = 3
_BATCH: Final = 512


def fit_ranker(learned: Examples, *, seed: int = 42, validation: float = 0.2) -> DeepRanker | None:
    order = np.argsort(learned.at_ms, kind="stable")
    cut = int(order.size * (1.0 - validation))
    old, new = order[:cut], order[cut:]
    if old.size < MIN_EXAMPLES or len(np.unique(learned.liked[new])) < 2 or len(np.unique(learned.liked[old])) < 2:
        return None
    mean = learned.features[old].mean(axis=0)
    spread = np.maximum(learned.features[old].std(axis=0), 1e-3)
    tf.keras.utils.set_random_seed(seed)
    model, layers = _network()
    model.compile(
        optimizer=tf.keras.optimizers.legacy.Adam(0.002), loss=tf.keras.losses.BinaryCrossentropy(from_logits=True)
    )
    scaled = np.clip((learned.features - mean) / spread, -8.0, 8.0)
    model.fit(
        scaled[old],
        learned.liked[old],
        validation_data=(scaled[new], learned.liked[new]),
        epochs=_MAX_EPOCHS,
        batch_size=_BATCH,
        verbose=0,
        callbacks=[tf.keras.callbacks.EarlyStopping(patience=_PATIENCE, restore_best_weights=True)],
    )
    crosses, dense, head = layers
    ranker = DeepRanker(mean, spread, _taken(crosses), _taken(dense), _taken([head])[0])
    linear = np.array([LINEAR_WEIGHTS.get(name, 0.0) for name in NAMES], np.float32)
    theirs = auc(learned.features[new] @ linear, learned.liked[new])
    return ranker if auc(ranker.scores(learned.features[new]), learned.liked[new]) > theirs else None


def auc(scores: Matrix, liked: Matrix) -> float:
    """How often a liked one scores above one that was not; ties count half."""
    ordered = np.sort(scores[liked < 0.5])
    good = scores[liked >= 0.5]
    below = np.searchsorted(ordered, good, side="left") + np.searchsorted(ordered, good, side="right")
    return float(below.sum() / (2 * max(1, ordered.size * good.size)))


def _network() -> tuple[Any, tuple[list[Any], list[Any], Any]]:
    inputs = tf.keras.Input((len(NAMES),))
    crosses = [tf.keras.layers.Dense(len(NAMES), kernel_initializer="glorot_uniform") for _ in range(CROSSES)]
    dense = [tf.keras.layers.Dense(size, activation="relu") for size in DENSE]
    head = tf.keras.layers.Dense(1)
    crossed = inputs
    for layer in crosses:
        crossed = inputs * layer(crossed) + crossed
    deep = inputs
    for layer in dense:
        deep = layer(deep)
    outputs = head(tf.keras.layers.Concatenate()([crossed, deep]))
    return tf.keras.Model(inputs, outputs), (crosses, dense, head)


def _taken(layers: list[Any]) -> tuple[Layer, ...]:
    return tuple(Layer(*(part.numpy() for part in (layer.kernel, layer.bias))) for layer in layers)
