"""Ranking features are one and the same for training and serving; rankers are kept whole or refused."""

from pathlib import Path
from typing import ClassVar

import msgspec
import numpy as np
import pytest

from cluster.kernel.clock import ManualClock
from cluster.kernel.errors import MODEL_INVALID, FlowError
from serve_apps.contracts import Acted, InteractionRow, ModelPerson
from serve_apps.data import Dataset, gather
from serve_apps.models.histories import Histories
from serve_apps.pipeline.ranker_files import RANKER, read_ranker, write_ranker
from serve_apps.pipeline.rankers import DeepRanker, Layer
from serve_apps.pipeline.ranking_examples import examples, request_at
from serve_apps.pipeline.ranking_features import NAMES
from serve_apps.pipeline.settings import Plugin
from serve_apps.testkit import world
from tests.serve_apps.builders import ListedData, engine_with
from tests.serve_apps.pipeline import stages

HERE = "tests.serve_apps.pipeline.stages"


async def dataset(people: int = 30, each: int = 8) -> Dataset:
    """Everybody likes what is dear, which fixed weights know nothing of, and looks at the rest."""
    chance = np.random.default_rng(3)
    events = [msgspec.structs.replace(one, is_public=True, capacity=None) for one in world.events(120)]
    topics = ("jazz", "chess", "food")
    crowd = [ModelPerson(user_id=f"p{n}", interests=(topics[n % 3],), coordinates=(13.4, 52.5)) for n in range(people)]
    rows = []
    for person in crowd:
        for step, number in enumerate(chance.choice(len(events), each, replace=False)):
            event = events[number]
            liked = event.price >= 12
            rows.append(
                InteractionRow(
                    person.user_id,
                    event.event_id,
                    "attend" if liked else "view",
                    1.0 if liked else 0.3,
                    world.NOW_MS - 10**9 + step * 1_000,
                )
            )
    return await gather(ListedData(rows, events, crowd))


class Spy(stages.ByPrice):
    """Keeps the features that it was asked about."""

    name = "spy"
    seen: ClassVar[dict[str, np.ndarray]] = {}

    def rank(self, batch: "object") -> np.ndarray:
        Spy.seen = {event.event_id: row for event, row in zip(batch.events, batch.features, strict=True)}  # type: ignore[attr-defined]
        return super().rank(batch)  # type: ignore[arg-type]


class Vectors:
    """Both towers as tables; implements `engine.LoadedModel`."""

    version = "v"

    def __init__(self, data: Dataset) -> None:
        from serve_apps.engine import StoredVectors

        chance = np.random.default_rng(5)
        self.people = {one.user_id: chance.normal(size=6).astype(np.float32) for one in data.people}
        self.events = {one.event_id: chance.normal(size=6).astype(np.float32) for one in data.events}
        rows = {one.event_id: row for row, one in enumerate(data.events)}
        # Checksums that hold for no content: every vector is asked for.
        self.stored = StoredVectors(rows, [0] * len(rows), np.array(list(self.events.values())))

    def embed_people(self, people: "object", histories: "object" = None) -> np.ndarray:
        return np.array([self.people[name] for name in people.ids])  # type: ignore[attr-defined]

    def embed_events(self, events: "object") -> np.ndarray:
        return np.array([self.events[name] for name in events.ids], np.float32).reshape(-1, 6)  # type: ignore[attr-defined]


async def test_training_and_serving_see_the_same() -> None:
    data = await dataset()
    model = Vectors(data)
    people = np.array([model.people[one.user_id] for one in data.people]) * 30
    model.people = dict(zip(model.people, people, strict=True))
    events = np.array([model.events[one.event_id] for one in data.events])
    learned = examples(data, lambda _, rows: people[rows], events)
    assert len(learned.features) > 200
    rows = data.interactions
    compared = 0
    for index in np.random.default_rng(1).choice(len(learned.features), 60, replace=False).tolist():
        at_ms, person = int(learned.at_ms[index]), int(learned.person[index])
        own = np.flatnonzero((rows.person == person) & (rows.at_ms < at_ms))
        past = [
            Acted(data.events[rows.event[row]].event_id, float(rows.weight[row]), int(rows.at_ms[row]))
            for row in own[np.argsort(-rows.at_ms[own], kind="stable")].tolist()
        ]
        engine = engine_with(
            ManualClock(at_ms), plugins=[Plugin(kind="ranker", path=f"{__name__}:Spy", deadline_ms=1_000)]
        )
        engine.use_events(data.events)
        engine.use_model(model)
        request = msgspec.structs.replace(request_at(data.people[person], past), limit=100, deadline_ms=60_000)
        engine.answer([request])
        seen = Spy.seen.get(data.events[int(learned.event[index])].event_id)
        if seen is not None:
            assert seen == pytest.approx(learned.features[index], abs=1e-5)
            compared += 1
    assert compared >= 40


async def test_nothing_of_the_future_is_in_an_example() -> None:
    data = await dataset(people=3)
    zeros = (lambda _, rows: np.zeros((len(rows), 2), np.float32)), np.zeros((len(data.events), 2), np.float32)
    heard: list[int] = []

    def people_at(histories: Histories, rows: np.ndarray) -> np.ndarray:
        heard.extend(histories.lengths.tolist())
        return np.zeros((len(rows), 2), np.float32)

    learned = examples(data, people_at, zeros[1])
    assert sorted(heard)[:3] == [0, 0, 0], "a person's first like is foreseen from nothing"
    assert max(heard) < len(data.interactions) // 3
    first = learned.at_ms == data.interactions.at_ms.min()
    assert (learned.features[first][:, NAMES.index("has_history")] == 0).all()
    again = examples(data, *zeros)
    assert all(np.array_equal(one, other) for one, other in zip(learned, again, strict=True))


def ranker(seed: int = 1) -> DeepRanker:
    chance = np.random.default_rng(seed)

    def layer(inputs: int, outputs: int) -> Layer:
        return Layer(chance.normal(size=(inputs, outputs)).astype(np.float32), np.zeros(outputs, np.float32))

    size = len(NAMES)
    ones = np.ones(size, np.float32)
    return DeepRanker(ones * 0, ones, (layer(size, size),), (layer(size, 8), layer(8, 4)), layer(size + 4, 1))


def test_a_ranker_is_kept_whole(tmp_path: Path) -> None:
    assert read_ranker(tmp_path) is None
    write_ranker(tmp_path, ranker())
    kept = read_ranker(tmp_path)
    assert kept is not None
    features = np.random.default_rng(2).normal(size=(50, len(NAMES))).astype(np.float32)
    assert np.array_equal(kept.scores(features), ranker().scores(features))


@pytest.mark.parametrize("damage", ["short", "other features", "no layers", "not finite"])
def test_a_ranker_that_does_not_fit_is_refused(tmp_path: Path, damage: str) -> None:
    write_ranker(tmp_path, ranker())
    path = tmp_path / RANKER
    if damage == "short":
        path.write_bytes(path.read_bytes()[:200])
    else:
        arrays = dict(np.load(path, allow_pickle=False))
        if damage == "other features":
            arrays["signature"] = np.frombuffer(b"1|price", np.uint8)
        elif damage == "no layers":
            del arrays["head0.weights"]
        else:
            arrays["mean"] = arrays["mean"] * np.nan
        np.savez(path, **arrays)
    with pytest.raises(FlowError) as refused:
        read_ranker(tmp_path)
    assert refused.value.kind is MODEL_INVALID


@pytest.mark.model
async def test_a_fitted_ranker_knows_more_than_fixed_weights_and_scores_as_it_was_fitted() -> None:
    from serve_apps.pipeline.ranker_training import auc, fit_ranker

    data = await dataset(people=150, each=12)
    zeros = (lambda _, rows: np.zeros((len(rows), 2), np.float32)), np.zeros((len(data.events), 2), np.float32)
    learned = examples(data, *zeros)
    fitted = fit_ranker(learned)
    assert fitted is not None
    assert auc(fitted.scores(learned.features), learned.liked) > 0.7
    assert fit_ranker(examples(data, *zeros, most=100)) is None
