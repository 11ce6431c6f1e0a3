"""What rankings are measured by. Imports nothing heavy: every process reads the settings that name it."""

from typing import Final

CUTOFFS: Final = (10, 20)
GATE: Final = "ndcg@10"
"""The metric by which models are compared in a sentence."""

Metrics = dict[str, float]
"""By name, such as `ndcg@10`; evaluation.py says what each means."""
