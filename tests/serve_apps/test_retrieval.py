"""Exact search: the true best, whatever the scores are."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from serve_apps.retrieval import best_allowed, best_rows, scored

odd = st.sampled_from([-1.0, 0.0, 0.5, 1.0, float("nan"), float("-inf"), float("inf")])


@given(arrays.arrays(np.float32, st.integers(0, 400), elements=odd), st.integers(0, 12))
def test_equals_a_plain_sort(scores: np.ndarray, limit: int) -> None:
    left = [row for row in range(scores.size) if not np.isnan(scores[row]) and scores[row] > -np.inf]
    expected = sorted(left, key=lambda row: (-scores[row], row))[:limit]
    assert best_rows(scores, limit).tolist() == expected


@pytest.mark.parametrize("size", [1_000, 99_999, 100_000])
def test_equals_a_plain_sort_among_many(size: int) -> None:
    scores = np.random.default_rng(size).normal(size=size).astype(np.float32).round(2)
    expected = np.lexsort((np.arange(size), -scores))[:150]
    assert best_rows(scores, 150).tolist() == expected.tolist()


@pytest.mark.parametrize(("looks", "size"), [(0, 5), (1, 0), (3, 8_191), (2, 8_192), (17, 20_000)])
def test_scores_are_dot_products_whatever_the_blocks(looks: int, size: int) -> None:
    chance = np.random.default_rng(looks)
    asked, vectors = (chance.normal(size=(count, 9)).astype(np.float32) for count in (looks, size))
    is_open = chance.random(size) < 0.9
    found = scored(asked, vectors, is_open)
    assert found.scores.shape == (looks, size)
    np.testing.assert_allclose(found.scores, np.where(is_open, asked @ vectors.T, -np.inf), atol=1e-4)
    if looks and size:
        assert found.tops.max(axis=1).tolist() == found.scores.max(axis=1).tolist()


@given(
    size=st.sampled_from([1, 63, 64, 700, 8_192, 9_000, 20_011]),
    seed=st.integers(0, 5),
    decimals=st.integers(0, 3),
    limit=st.integers(0, 20),
    closed=st.sampled_from([0.0, 0.01, 0.5, 1.0]),
    excluded=st.sampled_from([0.0, 0.001, 0.02, 0.7]),
)
def test_the_best_allowed_are_those_of_a_plain_sort(
    size: int, seed: int, decimals: int, limit: int, closed: float, excluded: float
) -> None:
    chance = np.random.default_rng(seed)
    vectors = chance.normal(size=(size, 1)).round(decimals).astype(np.float32)
    is_open = chance.random(size) >= closed
    allowed = is_open & (chance.random(size) >= excluded)
    found = scored(np.ones((1, 1), np.float32), vectors, is_open)
    forbidden = int(is_open.sum()) - int(allowed.sum())
    rows = np.flatnonzero(allowed)
    expected = rows[np.lexsort((rows, -vectors[rows, 0]))][:limit]
    assert best_allowed(found.scores[0], found.tops[0], allowed, limit, forbidden).tolist() == expected.tolist()
