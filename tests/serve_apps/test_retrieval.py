"""Exact search: the true best, whatever the scores are."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from serve_apps.retrieval import best_rows, scores_of

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
    found = scores_of(asked, vectors)
    assert found.shape == (looks, size)
    np.testing.assert_allclose(found, asked @ vectors.T, atol=1e-4)
