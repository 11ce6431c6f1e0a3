"""Where a score stands: what all scores would say, without computing them, and the same on every scale."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serve_apps.pipeline.standing import standing


@given(st.integers(2, 40), st.integers(1, 6), st.integers(0, 1_000), st.sampled_from([0.01, 1.0, 1_000.0]))
def test_it_is_the_deviation_from_all_events_scores(events: int, width: int, seed: int, scale: float) -> None:
    chance = np.random.default_rng(seed)
    vectors = chance.normal(size=(events, width)).astype(np.float32) * scale
    looks = chance.normal(1.0, 1.0, size=(3, width)).astype(np.float32)
    scores = looks.astype(np.float64) @ vectors.T
    wanted = (scores - scores.mean(axis=1, keepdims=True)) / scores.std(axis=1, keepdims=True)
    found = standing(vectors)
    assert found is not None
    assert found.of(looks, scores.astype(np.float32)) == pytest.approx(wanted, abs=0.02, rel=0.02)


def test_events_that_are_all_alike_stand_together() -> None:
    found = standing(np.ones((5, 2), np.float32))
    assert found is not None
    looks = np.array([[1.0, 2.0]], np.float32)
    assert np.abs(found.of(looks, looks @ np.ones((2, 5), np.float32))).max() <= 1.0
    assert standing(np.ones((1, 2), np.float32)) is None
