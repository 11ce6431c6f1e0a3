"""Effects against SciPy's own tests and against simulation; seeded, with bounds from the binomial."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from serve_apps.experiments.assignment import assign
from serve_apps.experiments.effects import Arm, Effect, TooFew, effect
from serve_apps.experiments.report import Report, report, sample_ratio_p
from tests.serve_apps.experiments.test_definition import NOW_MS, experiment

values = st.lists(st.integers(-1_000, 1_000), min_size=3, max_size=40, unique=True).map(lambda x: np.array(x, float))


@given(values, values)
def test_a_mean_is_compared_as_welch_does(control: np.ndarray, treatment: np.ndarray) -> None:
    found = effect(Arm(control), Arm(treatment))
    expected = stats.ttest_ind(treatment, control, equal_var=False)
    interval = expected.confidence_interval(0.95)
    assert found.p_value == pytest.approx(expected.pvalue, abs=1e-9)
    assert found.interval == pytest.approx((interval.low, interval.high), rel=1e-6, abs=1e-9)


def test_a_ratio_of_constant_denominators_is_a_mean() -> None:
    random = np.random.default_rng(1)
    arms = [random.normal(size=50), random.normal(size=60)]
    means = effect(*(Arm(one) for one in arms))
    ratios = effect(*(Arm(one * 3.0, denominator=np.full(one.size, 3.0)) for one in arms))
    assert ratios.interval == pytest.approx(means.interval)


def test_a_ratio_s_interval_is_as_wide_as_the_bootstrap_says() -> None:
    random = np.random.default_rng(2)

    def arm(rate: float) -> Arm:
        views = random.poisson(5, 2_000) + 1.0
        return Arm(random.binomial(views.astype(int), rate).astype(float), denominator=views)

    control, treatment = arm(0.2), arm(0.22)
    found = effect(control, treatment)

    def resampled(one: Arm) -> float:
        rows = random.integers(0, len(one), len(one))
        assert one.denominator is not None
        return float(one.numerator[rows].sum() / one.denominator[rows].sum())

    spread = np.std([resampled(treatment) - resampled(control) for _ in range(400)])
    assert found.interval.high - found.interval.low == pytest.approx(2 * 1.96 * spread, rel=0.12)


def test_cuped_takes_out_what_was_so_before_and_keeps_the_effect() -> None:
    random = np.random.default_rng(3)
    before = random.normal(10, 3, 4_000)
    after = before + random.normal(0, 1, 4_000)
    after[2_000:] += 0.2
    plain = effect(Arm(after[:2_000]), Arm(after[2_000:]))
    sharper = effect(Arm(after[:2_000], before=before[:2_000]), Arm(after[2_000:], before=before[2_000:]))
    assert sharper.variance_explained == pytest.approx(0.9, abs=0.02)
    assert sharper.difference == pytest.approx(0.2, abs=0.07)
    assert sharper.is_significant
    assert _width(sharper) < _width(plain) / 2


def test_what_is_not_finite_or_too_little() -> None:
    good = np.array([1.0, 2.0, 3.0])
    assert np.isfinite(effect(Arm(np.array([np.nan, np.inf, 1.0])), Arm(good)).difference)
    for wrong in (Arm(np.zeros(1)), Arm(np.zeros(0)), Arm(good, denominator=np.zeros(3))):
        with pytest.raises(TooFew):
            effect(wrong, Arm(good, denominator=wrong.denominator))
    equal = effect(Arm(np.ones(5)), Arm(np.ones(5)))
    assert (equal.p_value, equal.is_significant) == (1.0, False)


def test_an_a_a_test_finds_nothing_as_often_as_it_should() -> None:
    """300 experiments on simulated users, assigned by the hash: false positives are a binomial of one in twenty."""
    runs, users, alpha = 300, 400, 0.05
    random = np.random.default_rng(11)
    false, mismatches = 0, 0
    for run in range(runs):
        one = experiment(salt=f"a-a-{run}")
        treated = np.array([assign(one, f"user-{n}", NOW_MS).variation.key == "deep" for n in range(users)])
        clicks = random.gamma(1.0, 2.0, users)
        false += effect(Arm(clicks[~treated]), Arm(clicks[treated]), alpha=alpha).is_significant
        split = {"linear": int((~treated).sum()), "deep": int(treated.sum())}
        mismatch = sample_ratio_p(one, split)
        assert mismatch is not None
        mismatches += mismatch < alpha
    low, high = stats.binom.ppf([0.0005, 0.9995], runs, alpha)
    assert low <= false <= high
    assert low <= mismatches <= high


def test_looking_again_and_again_is_safe_with_sequential_intervals_and_not_without() -> None:
    runs, looks, step, alpha = 150, 15, 100, 0.05
    random = np.random.default_rng(13)
    stopped = {"fixed": 0, "sequential": 0}
    for _ in range(runs):
        control, treatment = random.normal(size=(2, looks * step))
        for kind in stopped:
            seen = (
                effect(Arm(control[: n * step]), Arm(treatment[: n * step]), alpha=alpha, kind=kind, tuning=1_000)
                for n in range(1, looks + 1)
            )
            stopped[kind] += any(one.is_significant for one in seen)
    assert stopped["sequential"] <= stats.binom.ppf(0.9995, runs, alpha)
    assert stopped["fixed"] > stats.binom.ppf(0.9995, runs, alpha), "peeking does no harm: the test proves nothing"


@given(st.integers(0, 2**32))
def test_the_sequential_interval_and_its_p_value_agree(seed: int) -> None:
    random = np.random.default_rng(seed)
    found = effect(Arm(random.normal(size=80)), Arm(random.normal(0.5, size=80)), kind="sequential")
    if abs(found.p_value - 0.05) > 1e-9:
        assert found.is_significant == (found.p_value < 0.05)


def test_a_lost_variation_is_noticed_before_its_effect_is_believed() -> None:
    random = np.random.default_rng(5)
    one = experiment()
    healthy = _reported(one, random.normal(size=1_000), random.normal(size=1_040))
    assert healthy.can_be_trusted
    lossy = _reported(one, random.normal(size=1_000), random.normal(size=800))
    assert not lossy.can_be_trusted
    assert "split" in lossy.warnings[0]


def test_a_guardrail_that_gets_worse_is_named() -> None:
    random = np.random.default_rng(6)
    one = experiment(
        primary={"key": "clicks", "numerator": "click"},
        guardrails=[{"key": "hides", "numerator": "dismiss", "good": "down"}],
    )
    arms = {
        "clicks": {"linear": Arm(random.normal(1, 1, 500)), "deep": Arm(random.normal(2, 1, 500))},
        "hides": {"linear": Arm(random.normal(1, 1, 500)), "deep": Arm(random.normal(2, 1, 500))},
    }
    found = report(one, arms)
    assert [result.verdict for result in found.primary] == ["better"]
    assert [result.verdict for result in found.guardrails] == ["worse"]
    assert "hides got worse under deep." in found.warnings


def test_no_units_is_a_report_and_not_a_crash() -> None:
    found = report(experiment(), {})
    assert found.units == {"linear": 0, "deep": 0}
    assert (found.mismatch_p, [one.verdict for one in found.primary]) == (None, ["too little data"])


def _reported(one, control: np.ndarray, treatment: np.ndarray) -> Report:
    ones = {"linear": np.ones(control.size), "deep": np.ones(treatment.size)}
    arms = {"linear": Arm(control, ones["linear"]), "deep": Arm(treatment, ones["deep"])}
    return report(one, {one.primary.key: arms})


def _width(found: Effect) -> float:
    return found.interval.high - found.interval.low
