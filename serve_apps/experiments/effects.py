"""How far a treatment moved a metric: an estimate with an interval, from one row a unit.

Pure NumPy and SciPy; used by `report`. Mean metrics are compared by Welch's test. Ratio metrics are made linear (delta
method, Deng et al. 2018): each unit stands for its pull on the ratio, so the same test holds. With values from before
the exposure, CUPED (Deng et al. 2013) takes out what they explain. The sequential interval is the asymptotic confidence
sequence of Waudby-Smith et al. (2021): it holds at every look at once, and its p-value is that of the mixture
sequential probability ratio test.
"""

import math
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import special

Values = npt.NDArray[np.float64]

SEQUENTIAL_TUNING: Final = 5_000
"""The number of units at which the sequential interval is tightest; GrowthBook's default."""


@dataclass(frozen=True, slots=True)
class Arm:
    """One variation's units: parallel columns. `denominator` makes it a ratio; `before` is the metric's numerator in
    the time before the exposure. Units that are not finite count as nothing."""

    numerator: Values
    denominator: Values | None = None
    before: Values | None = None

    def __post_init__(self) -> None:
        for name in ("numerator", "denominator", "before"):
            column = getattr(self, name)
            if column is not None:
                object.__setattr__(self, name, np.nan_to_num(np.asarray(column, np.float64), posinf=0.0, neginf=0.0))

    def __len__(self) -> int:
        return int(self.numerator.size)


class Interval(NamedTuple):
    low: float
    high: float

    def holds(self, value: float) -> bool:
        return self.low <= value <= self.high


class Effect(NamedTuple):
    """`difference` is treatment minus control, `relative` the same as a share of the control (None without one)."""

    control: float
    treatment: float
    difference: float
    interval: Interval
    relative: float | None
    relative_interval: Interval | None
    p_value: float
    variance_explained: float
    """The share of the variance that CUPED took out."""

    @property
    def is_significant(self) -> bool:
        return not self.interval.holds(0.0)


class _Pulls(NamedTuple):
    """Units whose mean is the metric, and what is left of their variance."""

    values: Values
    mean: float

    @property
    def variance_of_mean(self) -> float:
        return float(self.values.var(ddof=1)) / self.values.size


class TooFew(Exception):
    """An arm has fewer than two units, or a ratio's denominator adds up to nothing: there is no effect to tell."""


def effect(
    control: Arm,
    treatment: Arm,
    *,
    alpha: float = 0.05,
    kind: Literal["fixed", "sequential"] = "fixed",
    tuning: int = SEQUENTIAL_TUNING,
) -> Effect:
    """`alpha` is the share of such intervals that may miss the truth. Raises TooFew."""
    plain = [_pulls(control), _pulls(treatment)]
    adjusted = _cuped(plain, (control.before, treatment.before))
    base, treated = adjusted
    before, after = (sum(one.variance_of_mean for one in pair) for pair in (plain, adjusted))
    difference, variance = treated.mean - base.mean, after
    degrees = _degrees_of_freedom(base, treated)
    size = base.values.size + treated.values.size

    def half_width(its_variance: float) -> float:
        if kind == "sequential":
            return _sequential_half_width(its_variance, size, alpha, tuning)
        return float(special.stdtrit(degrees, 1.0 - alpha / 2.0)) * math.sqrt(its_variance)

    relative, relative_interval = None, None
    if base.mean != 0.0:
        relative = difference / base.mean
        relative_variance = (
            treated.variance_of_mean / base.mean**2 + base.variance_of_mean * treated.mean**2 / base.mean**4
        )
        width = half_width(relative_variance)
        relative_interval = Interval(relative - width, relative + width)
    width = half_width(variance)
    return Effect(
        control=base.mean,
        treatment=treated.mean,
        difference=difference,
        interval=Interval(difference - width, difference + width),
        relative=relative,
        relative_interval=relative_interval,
        p_value=_p_value(difference, variance, degrees, size, kind, tuning),
        variance_explained=0.0 if before == 0.0 else max(0.0, 1.0 - after / before),
    )


def _pulls(arm: Arm) -> _Pulls:
    if len(arm) < 2:
        raise TooFew("an arm has fewer than two units")
    if arm.denominator is None:
        return _Pulls(arm.numerator, float(arm.numerator.mean()))
    mean_denominator = float(arm.denominator.mean())
    if mean_denominator == 0.0:
        raise TooFew("a denominator adds up to nothing")
    ratio = float(arm.numerator.mean()) / mean_denominator
    return _Pulls(ratio + (arm.numerator - ratio * arm.denominator) / mean_denominator, ratio)


def _cuped(arms: list[_Pulls], before: tuple[Values | None, Values | None]) -> list[_Pulls]:
    """One slope for both arms, from what varies within each."""
    pasts = [past for past in before if past is not None]
    if len(pasts) < len(arms):
        return arms
    centred = [(arm.values - arm.values.mean(), past - past.mean()) for arm, past in zip(arms, pasts, strict=True)]
    spread = sum(float((past**2).sum()) for _, past in centred)
    if spread == 0.0:
        return arms
    slope = sum(float((value * past).sum()) for value, past in centred) / spread
    everybody = float(np.concatenate(pasts).mean())
    adjusted = []
    for arm, past in zip(arms, pasts, strict=True):
        values = arm.values - slope * (past - everybody)
        adjusted.append(_Pulls(values, float(values.mean())))
    return adjusted


def _degrees_of_freedom(first: _Pulls, second: _Pulls) -> float:
    """Welch and Satterthwaite's."""
    variances = [one.variance_of_mean for one in (first, second)]
    divisor = sum(variance**2 / (one.values.size - 1) for variance, one in zip(variances, (first, second), strict=True))
    return sum(variances) ** 2 / divisor if divisor > 0.0 else float(first.values.size + second.values.size - 2)


def _rho_squared(alpha: float, tuning: int) -> float:
    doubt = -2.0 * math.log(alpha)
    return (doubt + math.log(doubt + 1.0)) / tuning


def _sequential_half_width(variance: float, size: int, alpha: float, tuning: int) -> float:
    rho = _rho_squared(alpha, tuning)
    grown = size * rho + 1.0
    return math.sqrt(variance * size) * math.sqrt(2.0 * grown / (size**2 * rho) * math.log(math.sqrt(grown) / alpha))


def _p_value(
    difference: float, variance: float, degrees: float, size: int, kind: Literal["fixed", "sequential"], tuning: int
) -> float:
    if variance == 0.0:
        return 1.0 if difference == 0.0 else 0.0
    squared = difference**2 / variance
    if kind == "sequential":
        grown = size * _rho_squared(0.05, tuning)
        return min(1.0, math.sqrt(grown + 1.0) * math.exp(-squared * grown / (2.0 * (grown + 1.0))))
    return float(2.0 * special.stdtr(degrees, -math.sqrt(squared)))
