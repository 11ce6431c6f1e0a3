"""The one place that imports TensorFlow, with Keras 2 chosen first; importing this module costs seconds and memory.

Imported by training and, in a thread and only once a model exists, by the recommender's replicas. TensorFlow
Recommenders needs Keras 2, which TensorFlow takes only if TF_USE_LEGACY_KERAS is set before its first import in the
process. Nothing on the chat path may import this.
"""

import warnings

from cluster.kernel import environment

environment.ensure("TF_USE_LEGACY_KERAS", "1")
environment.set_default("TF_CPP_MIN_LOG_LEVEL", "2")
environment.set_default("TF_ENABLE_ONEDNN_OPTS", "0")  # the same sums on every machine, and less memory

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # TensorFlow's own imports use what newer Pythons deprecate
    import tensorflow as tf

__all__ = ["bound_threads", "tf"]


def bound_threads(threads: int) -> None:
    """Let TensorFlow use at most `threads` for one operation; only the first call of a process counts."""
    try:
        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(1)
    except RuntimeError:
        return  # the runtime already runs with what the first call said
