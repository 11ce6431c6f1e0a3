"""What came of an experiment, said plainly: counts, whether they can be trusted, and each metric's effect.

Pure; used by `flow experiments results`. A report is given for little data too, with warnings that say why not to
believe it yet. With several treatments each gets its part of `alpha` (Bonferroni), so that one of many is not found by
chance.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
from scipy import special

from serve_apps.experiments.definition import Experiment, Metric
from serve_apps.experiments.effects import Arm, Effect, TooFew, effect

MISMATCH_P: Final = 0.001
"""Below it the split is not the one that was declared: something drops or repeats units (GrowthBook's threshold)."""
MIN_UNITS_TO_CHECK: Final = 8
MIN_UNITS_TO_BELIEVE: Final = 150

Verdict = Literal["better", "worse", "no difference seen", "too little data"]
Arms = Mapping[str, Mapping[str, Arm]]
"""Metric key → variation key → its units."""


@dataclass(frozen=True, slots=True)
class MetricResult:
    metric: Metric
    variation: str
    effect: Effect | None
    verdict: Verdict

    @property
    def is_violation(self) -> bool:
        return self.verdict == "worse"


@dataclass(frozen=True, slots=True)
class Report:
    """`mismatch_p` is None where there are too few units to tell whether the split is the declared one."""

    experiment: Experiment
    kind: Literal["fixed", "sequential"]
    units: dict[str, int]
    mismatch_p: float | None
    primary: tuple[MetricResult, ...]
    guardrails: tuple[MetricResult, ...]
    warnings: tuple[str, ...]

    @property
    def can_be_trusted(self) -> bool:
        return self.mismatch_p is None or self.mismatch_p >= MISMATCH_P

    def to_builtins(self) -> dict[str, Any]:
        return {
            "experiment": self.experiment.key,
            "version": self.experiment.version,
            "intervals": self.kind,
            "units": self.units,
            "sampleRatioP": self.mismatch_p,
            "trusted": self.can_be_trusted,
            "primary": [_row(one) for one in self.primary],
            "guardrails": [_row(one) for one in self.guardrails],
            "warnings": list(self.warnings),
        }


def report(
    experiment: Experiment, arms: Arms, *, alpha: float = 0.05, kind: Literal["fixed", "sequential"] = "fixed"
) -> Report:
    """`arms` holds every metric of the experiment for every variation; a missing one has no units."""
    units = {one.key: len(_arm(arms, experiment.primary, one.key)) for one in experiment.variations}
    mismatch = sample_ratio_p(experiment, units)
    share = alpha / (len(experiment.variations) - 1)
    primary = _results(experiment, [experiment.primary], arms, share, kind)
    guardrails = _results(experiment, experiment.guardrails, arms, share, kind)
    warnings = []
    if mismatch is not None and mismatch < MISMATCH_P:
        warnings.append(
            f"The split is not the declared one (p = {mismatch:.2g}): find out what loses units before you read on."
        )
    if min(units.values()) < MIN_UNITS_TO_BELIEVE:
        warnings.append(f"A variation has fewer than {MIN_UNITS_TO_BELIEVE} units.")
    warnings += [f"{one.metric.key} got worse under {one.variation}." for one in guardrails if one.is_violation]
    return Report(experiment, kind, units, mismatch, primary, guardrails, tuple(warnings))


def sample_ratio_p(experiment: Experiment, units: Mapping[str, int]) -> float | None:
    """How likely so uneven a split is by chance (chi-square); None with fewer than 8 expected in a variation."""
    drawn = [one for one in experiment.variations if one.weight > 0.0]
    observed = np.array([units.get(one.key, 0) for one in drawn], np.float64)
    weights = np.array([one.weight for one in drawn], np.float64)
    expected = weights / weights.sum() * observed.sum()
    if len(drawn) < 2 or expected.min() < MIN_UNITS_TO_CHECK:
        return None
    return float(special.chdtrc(len(drawn) - 1, ((observed - expected) ** 2 / expected).sum()))


def _results(
    experiment: Experiment,
    metrics: tuple[Metric, ...] | list[Metric],
    arms: Arms,
    alpha: float,
    kind: Literal["fixed", "sequential"],
) -> tuple[MetricResult, ...]:
    control, *treatments = (one.key for one in experiment.variations)
    found = []
    for metric in metrics:
        base = _arm(arms, metric, control)
        for key in treatments:
            try:
                seen = effect(base, _arm(arms, metric, key), alpha=alpha, kind=kind)
            except TooFew:
                found.append(MetricResult(metric, key, None, "too little data"))
            else:
                found.append(MetricResult(metric, key, seen, _verdict(metric, seen)))
    return tuple(found)


def _arm(arms: Arms, metric: Metric, variation: str) -> Arm:
    return arms.get(metric.key, {}).get(variation, Arm(np.zeros(0)))


def _verdict(metric: Metric, seen: Effect) -> Verdict:
    if not seen.is_significant:
        return "no difference seen"
    return "better" if (seen.difference > 0) == (metric.good == "up") else "worse"


def _row(result: MetricResult) -> dict[str, Any]:
    row: dict[str, Any] = {"metric": result.metric.key, "variation": result.variation, "verdict": result.verdict}
    if result.effect is not None:
        one = result.effect
        row |= {
            "control": one.control,
            "treatment": one.treatment,
            "difference": one.difference,
            "interval": list(one.interval),
            "relative": one.relative,
            "relativeInterval": None if one.relative_interval is None else list(one.relative_interval),
            "p": one.p_value,
            "varianceExplained": one.variance_explained,
        }
    return row
