"""The models without TensorFlow: against their formulas, and the same after a round trip through the registry."""

import asyncio
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.kernel.errors import MODEL_INVALID, FlowError
from serve_apps import model_files
from serve_apps.data import Dataset, gather
from serve_apps.models import files
from serve_apps.models.histories import Histories, of_lists
from serve_apps.models.scoring import solve
from serve_apps.registry import ModelRegistry
from serve_apps.training import linear
from serve_apps.training.factorisation import AlsParameters, als
from serve_apps.training.job import Run, TrainedModel, publish, train, train_and_publish
from serve_apps.training.settings import TrainingSettings
from tests.serve_apps.builders import ListedData, two_tastes

EVENTS = 12
likes = st.lists(st.lists(st.integers(0, EVENTS - 1), max_size=6, unique=True), min_size=1, max_size=15)
SIMPLE = ("popularity", "item_knn", "ease", "als")
SETTINGS = TrainingSettings(models=SIMPLE)


def dense(histories: Histories) -> "np.ndarray[tuple[int, int], np.dtype[np.float64]]":
    return histories.matrix(EVENTS).toarray().astype(np.float64)


@given(likes, st.sampled_from([1.0, 100.0]))
def test_ease_is_its_closed_form(people: list[list[int]], l2: float) -> None:
    histories = of_lists(people)
    known = np.flatnonzero(dense(histories).sum(axis=0))
    gram = dense(histories)[:, known].T @ dense(histories)[:, known]
    inverse = np.linalg.inv(gram + l2 * np.eye(known.size))
    wanted = np.zeros((EVENTS, EVENTS))
    wanted[np.ix_(known, known)] = -inverse / np.diag(inverse) * (1 - np.eye(known.size))
    np.testing.assert_allclose(linear.ease(histories, EVENTS, l2, 100).cut().matrix.toarray(), wanted, atol=1e-4)


@given(likes, st.sampled_from([0.0, 5.0]))
def test_item_knn_is_a_shrunk_cosine(people: list[list[int]], shrinkage: float) -> None:
    x = dense(of_lists(people))
    lengths = np.sqrt(x.sum(axis=0))
    together = x.T @ x * (1 - np.eye(EVENTS))
    below = np.outer(lengths, lengths) + shrinkage
    wanted = np.divide(together, below, out=np.zeros_like(together), where=together > 0)
    found = linear.item_knn(of_lists(people), EVENTS, shrinkage).matrix.toarray()
    np.testing.assert_allclose(found, wanted, atol=1e-5)


@given(likes)
def test_a_person_is_the_minimum_of_the_loss(people: list[list[int]]) -> None:
    """At the solution the gradient of Hu's loss vanishes."""
    histories = of_lists(people)
    factors = np.random.default_rng(1).normal(size=(EVENTS, 3)).astype(np.float32)
    w0, l2 = 0.1, 0.02
    found = solve(histories, factors, w0, l2)
    x = dense(histories)
    penalty = l2 * (x.sum(axis=1, keepdims=True) + w0 * EVENTS)
    gradient = (x * (found @ factors.T - 1)) @ factors + w0 * (found @ factors.T) @ factors + penalty * found
    there = x.sum(axis=1) > 0
    np.testing.assert_allclose(gradient[there], 0.0, atol=1e-3)
    assert (found[~there] == 0).all()


def test_als_learns_who_likes_what() -> None:
    people = of_lists([[0, 1, 2], [0, 1], [1, 2], [3, 4, 5], [3, 4], [4, 5]] * 3)
    scores = als(people, EVENTS, AlsParameters(dimension=4), seed=1).scores(of_lists([[0, 1], [3, 4]]))
    assert scores[0, 2] > scores[0, 5]
    assert scores[1, 5] > scores[1, 2]


def test_an_event_keeps_only_its_strongest_neighbours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linear.Neighbours, "KEPT", 2)
    matrix = linear.item_knn(of_lists([list(range(8))] * 3), EVENTS, 0.0).matrix
    assert np.diff(matrix.indptr).max() == 2


@pytest.fixture(scope="module", params=SIMPLE)
def trained(request: pytest.FixtureRequest) -> TrainedModel:
    return asyncio.run(train(two_tastes(), SETTINGS, serve=request.param))


@pytest.fixture(scope="module")
def small() -> TrainedModel:
    return asyncio.run(train(two_tastes(people=6), SETTINGS, serve="ease"))


def test_what_is_served_is_what_was_fitted(trained: TrainedModel, tmp_path: Path) -> None:
    registry = ModelRegistry(tmp_path)
    manifest = publish(trained, registry)
    loaded = model_files.load(*registry.verified(manifest.version), threads=1)
    assert loaded.kind == manifest.kind == trained.kind
    rows = np.arange(len(trained.dataset.people))
    scores = trained.model.scores(trained.histories.take(rows))  # type: ignore[union-attr]
    for number in (0, 1):
        person = trained.dataset.people[number].user_id
        found = loaded.retrieve(person, None, 5)
        assert [one.score for one in found] == pytest.approx(sorted(scores[number], reverse=True)[:5], abs=1e-5)
        history = [trained.dataset.events[row].event_id for row in trained.histories.newest(40)[number] - 1 if row >= 0]
        again = loaded.retrieve("somebody else", history, 5)
        assert [one.score for one in again] == pytest.approx([one.score for one in found], abs=1e-5)
        without = loaded.retrieve(person, None, 100, seen={found[0].event_id})
        assert found[0].event_id not in {one.event_id for one in without}
        assert len(without) == len(trained.dataset.events) - 1


def test_a_stranger_gets_what_most_people_liked(trained: TrainedModel, tmp_path: Path) -> None:
    registry = ModelRegistry(tmp_path)
    loaded = model_files.load(*registry.verified(publish(trained, registry).version), threads=1)
    counts = np.bincount(trained.histories.rows, minlength=len(trained.dataset.events))
    [first] = loaded.retrieve("stranger", [], 1)
    rows = {event.event_id: row for row, event in enumerate(trained.dataset.events)}
    assert counts[rows[first.event_id]] == counts.max()
    assert loaded.retrieve("stranger", ["no such event"], 1) == (first,)
    assert loaded.retrieve("stranger", [], 0) == ()


@pytest.mark.parametrize("name", [files.ARRAYS, files.HISTORIES, files.PEOPLE, files.VECTORS, files.CANDIDATES])
@pytest.mark.parametrize("keep", [0, 20, 0.5])
def test_files_cut_short_are_refused(small: TrainedModel, tmp_path: Path, name: str, keep: float) -> None:
    registry = ModelRegistry(tmp_path)
    manifest, directory = registry.verified(publish(small, registry).version)
    content = (directory / name).read_bytes()
    (directory / name).write_bytes(content[: int(len(content) * keep) if keep < 1 else int(keep)])
    with pytest.raises(FlowError) as caught:
        registry.verified(manifest.version)
    assert caught.value.kind is MODEL_INVALID
    with pytest.raises(FlowError) as caught:
        model_files.load(manifest, directory, threads=1)
    assert caught.value.kind is MODEL_INVALID


async def test_the_best_kind_may_be_served(tmp_path: Path) -> None:
    outcome = await train_and_publish(two_tastes(), ModelRegistry(tmp_path), Run(SETTINGS, serve="best"))
    scores = {kind: metrics["ndcg@10"] for kind, metrics in outcome.manifest.metrics.items()}
    assert scores[outcome.manifest.kind] == max(scores.values())
    assert outcome.promoted


async def test_data_of_one_like_is_enough() -> None:
    data: Dataset = await gather(two_tastes(people=1, likes=1))
    assert len(data.people) == 1
    for kind in SIMPLE:
        model = await train(two_tastes(people=1, likes=1), SETTINGS, serve=kind)
        assert np.isfinite(model.event_vectors()).all()
        assert model.results == {}


async def test_nothing_at_all_is_refused() -> None:
    with pytest.raises(FlowError, match="no interactions"):
        await train(ListedData(), SETTINGS, serve="ease")
