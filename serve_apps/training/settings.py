"""How models are trained and how a run tells of itself; imports nothing heavy, so the command line may read it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Literal

from cluster.kernel.errors import SETTINGS_INVALID, FlowError
from serve_apps.metrics import CUTOFFS, Metrics

KINDS: Final = ("popularity", "item_knn", "ease", "als", "two_tower")
BEST: Final = "best"
"""In place of a kind: the winner of the comparison."""


@dataclass(frozen=True, slots=True)
class TwoTowerSettings:
    """`rows_per_epoch` bounds how many likes one epoch reads, drawn anew each time; after `patience` epochs without a
    better NDCG@10 on the validation part fitting stops. `history_drop` is the share of likes that are learned from
    without the person's history, `id_drop` of those that are learned from without the event's id."""

    dimension: int = 64
    batch_size: int = 1_024
    learning_rate: float = 0.001
    max_epochs: int = 12
    patience: int = 3
    epochs_without_split: int = 4
    rows_per_epoch: int = 200_000
    l2: float = 0.003
    history_drop: float = 0.05
    id_drop: float = 0.1
    decay: float = 5.0
    scale: float = 20.0


@dataclass(frozen=True, slots=True)
class TrainingSettings:
    """`test_fraction` of the newest likes is kept for measuring, and `validation_fraction` of the rest chooses
    hyper-parameters; `split` cuts by each person's own time or by one time for all. `models` are the kinds that are
    fitted and compared. `threads` bounds TensorFlow. Events beyond `most_item_to_item` are left out of EASE, the least
    liked first: its matrix is dense while it is solved."""

    models: tuple[str, ...] = KINDS
    split: Literal["person", "global"] = "person"
    test_fraction: float = 0.2
    validation_fraction: float = 0.2
    min_people_to_split: int = 20
    most_item_to_item: int = 10_000
    seed: int = 42
    threads: int = 2
    two_tower: TwoTowerSettings = field(default_factory=TwoTowerSettings)


@dataclass(frozen=True, slots=True)
class RetrainingSettings:
    """When models are made anew by themselves, and when a new one may take over.

    `every_hours` 0 turns retraining off; a run that failed, or found fewer than `min_interactions`, is tried again
    after `retry_hours`. A new model is promoted when each of `gate_metrics` is at least `1 - gate_tolerance` times that
    of the live model on the same data and split. `serve` is the kind that is made, or "best" for the winner of each
    run's comparison.
    """

    serve: str = "two_tower"
    every_hours: float = 168.0
    retry_hours: float = 6.0
    min_interactions: int = 1_000
    gate_metrics: tuple[str, ...] = ("ndcg@10", "recall@20")
    gate_tolerance: float = 0.02

    def __post_init__(self) -> None:
        if self.serve not in (*KINDS, BEST):
            raise FlowError(SETTINGS_INVALID, f"training.serve must be one of {', '.join((*KINDS, BEST))}.")
        if self.every_hours < 0 or self.retry_hours <= 0 or self.min_interactions < 0:
            problem = "training.every_hours and min_interactions must not be negative, retry_hours must be more than 0."
            raise FlowError(SETTINGS_INVALID, problem)
        known = {f"{name}@{cutoff}" for name in ("recall", "ndcg", "map") for cutoff in CUTOFFS} | {"mrr"}
        if not self.gate_metrics or not set(self.gate_metrics) <= known or not 0 <= self.gate_tolerance < 1:
            names = ", ".join(sorted(known))
            problem = f"training.gate_metrics must be some of {names}, gate_tolerance from 0 to less than 1."
            raise FlowError(SETTINGS_INVALID, problem)


@dataclass(frozen=True, slots=True)
class TrainingProgress:
    """One step of a run: `stage` is a sentence's subject such as "fitting two_tower"."""

    stage: str
    epoch: int = 0
    max_epochs: int = 0
    metrics: Metrics | None = None


Progress = Callable[[TrainingProgress], None]
"""Called from the training thread, in order; it must be quick and thread-safe."""


def silent(progress: TrainingProgress) -> None:
    """Nobody asked to be told."""
