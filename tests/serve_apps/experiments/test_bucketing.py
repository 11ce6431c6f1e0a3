"""Bucketing gives what GrowthBook's SDKs give, and covers nobody twice."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serve_apps.experiments.bucketing import Range, choose, equal_weights, in_namespace, place_of, ranges_of
from tests.serve_apps.experiments import vectors


@pytest.mark.parametrize(("seed", "value", "version", "place"), vectors.HASH)
def test_the_hash(seed: str, value: str, version: int, place: float | None) -> None:
    assert place_of(seed, value, version) == place


@pytest.mark.parametrize(("name", "arguments", "expected"), vectors.BUCKET_RANGES)
def test_bucket_ranges(name: str, arguments: tuple, expected: list) -> None:
    count, coverage, weights = arguments
    found = ranges_of(count, coverage, weights)
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert one == pytest.approx(other)


@pytest.mark.parametrize(("name", "place", "ranges", "index"), vectors.CHOOSE_VARIATION)
def test_choosing(name: str, place: float, ranges: list, index: int) -> None:
    found = choose(place, [Range(*one) for one in ranges])
    assert (-1 if found is None else found) == index


@pytest.mark.parametrize(("unit", "name", "part", "is_in"), vectors.IN_NAMESPACE)
def test_namespaces(unit: str, name: str, part: tuple[float, float], is_in: bool) -> None:
    assert in_namespace(unit, name, Range(*part)) is is_in


@pytest.mark.parametrize(("count", "weights"), vectors.EQUAL_WEIGHTS)
def test_equal_weights(count: int, weights: list[float]) -> None:
    assert list(equal_weights(count)) == pytest.approx(weights)


@pytest.mark.parametrize(("name", "unit", "experiment", "index"), vectors.RUNS)
def test_whole_runs(name: str, unit: str, experiment: tuple, index: int | None) -> None:
    _, seed, version, count, coverage, weights = experiment
    place = place_of(seed, unit, version)
    assert place is not None
    assert choose(place, ranges_of(count, coverage, weights)) == index


@given(
    weights=st.lists(st.integers(1, 50), min_size=2, max_size=8),
    less=st.floats(0, 1),
    more=st.floats(0, 1),
    place=st.integers(0, 9_999),
)
def test_more_coverage_moves_nobody(weights: list[int], less: float, more: float, place: int) -> None:
    shares = [weight / sum(weights) for weight in weights]
    low, high = sorted((less, more))
    before = choose(place / 10_000, ranges_of(len(shares), low, shares))
    assert before is None or choose(place / 10_000, ranges_of(len(shares), high, shares)) == before
