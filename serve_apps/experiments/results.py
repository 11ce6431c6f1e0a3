"""From exposed units and their sums to the arms of a report. Pure; `flow experiments results` feeds it pages."""

from collections.abc import Iterable, Mapping

import numpy as np

from serve_apps.experiments.definition import Experiment, Metric
from serve_apps.experiments.effects import Arm

Unit = tuple[str, str, Mapping[str, float]]
"""Its id, its variation, and its sums by name; `before:` and a name is the same from before the exposure."""


class Tally:
    """Collects units; grows by three numbers a unit and metric."""

    def __init__(self, experiment: Experiment) -> None:
        self._metrics = (experiment.primary, *experiment.guardrails)
        self._rows: dict[tuple[str, str], list[tuple[float, float, float]]] = {
            (metric.key, variation.key): [] for metric in self._metrics for variation in experiment.variations
        }

    def add(self, units: Iterable[Unit]) -> None:
        """Units of variations that no longer exist are left out."""
        for _, variation, sums in units:
            for metric in self._metrics:
                rows = self._rows.get((metric.key, variation))
                if rows is not None:
                    rows.append(_row(metric, sums))

    def arms(self) -> dict[str, dict[str, Arm]]:
        found: dict[str, dict[str, Arm]] = {metric.key: {} for metric in self._metrics}
        for metric in self._metrics:
            for (key, variation), rows in self._rows.items():
                if key == metric.key:
                    columns = np.array(rows, np.float64).reshape(-1, 3).T
                    denominator = None if metric.denominator is None else columns[1]
                    found[key][variation] = Arm(columns[0], denominator, columns[2])
        return found


def _row(metric: Metric, sums: Mapping[str, float]) -> tuple[float, float, float]:
    below = 0.0 if metric.denominator is None else sums.get(metric.denominator, 0.0)
    return sums.get(metric.numerator, 0.0), below, sums.get(f"before:{metric.numerator}", 0.0)
