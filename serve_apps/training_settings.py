"""How a model is trained and how a run tells of itself; imports nothing heavy, so the command line may read it."""

from collections.abc import Callable
from dataclasses import dataclass

from serve_apps.evaluation import Metrics


@dataclass(frozen=True, slots=True)
class TrainingSettings:
    """`threads` bounds TensorFlow; `test_fraction` of each person's newest likes is kept for measuring, and
    `validation_fraction` of the rest decides when to stop: after `patience` epochs without a better NDCG@10.
    With too little data for a split, `epochs_without_split` epochs are fitted."""

    dimension: int = 64
    batch_size: int = 2_048
    learning_rate: float = 0.003
    max_epochs: int = 40
    patience: int = 6
    epochs_without_split: int = 15
    test_fraction: float = 0.2
    validation_fraction: float = 0.1
    min_people_to_split: int = 20
    dropout: float = 0.1
    l2: float = 0.01
    seed: int = 42
    threads: int = 2


@dataclass(frozen=True, slots=True)
class TrainingProgress:
    """One step of a run: `stage` is "reading", "fitting", "measuring", "fitting on everything" or "writing"."""

    stage: str
    epoch: int = 0
    max_epochs: int = 0
    metrics: Metrics | None = None


Progress = Callable[[TrainingProgress], None]
"""Called from the training thread, in order; it must be quick and thread-safe."""
