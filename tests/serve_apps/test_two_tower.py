"""The model: learns two tastes, stands on content alone for what it never saw, works after a round trip to disk."""

import asyncio
from pathlib import Path

import numpy as np
import pytest

from cluster.kernel.clock import SystemClock
from cluster.kernel.errors import MODEL_INVALID, TRAINING_DATA_INVALID, FlowError
from serve_apps import evaluation, model_files
from serve_apps.contracts import Acted, InteractionRow, ModelPerson, RecommendationAnswer, RecommendationRequest
from serve_apps.features import event_features, people_features
from serve_apps.models import person_tower
from serve_apps.pipeline.sources import SOURCES
from serve_apps.registry import Manifest, ModelRegistry
from serve_apps.training.job import Run, TrainedModel, publish, train, train_and_publish
from serve_apps.training.report import table
from serve_apps.training.settings import TrainingProgress, TrainingSettings, TwoTowerSettings
from tests.serve_apps.builders import ListedData, engine_with, event, events_of_two_tastes, two_tastes

pytestmark = [pytest.mark.model, pytest.mark.timeout(300)]

FAST = TwoTowerSettings(max_epochs=12, batch_size=128, learning_rate=0.01)
SETTINGS = TrainingSettings(models=("popularity", "ease", "two_tower"), seed=3, two_tower=FAST)


@pytest.fixture(scope="module")
def trained() -> TrainedModel:
    return asyncio.run(train(two_tastes(), SETTINGS))


@pytest.fixture
def registry(tmp_path: Path) -> ModelRegistry:
    return ModelRegistry(tmp_path)


@pytest.fixture
def published(trained: TrainedModel, registry: ModelRegistry) -> Manifest:
    return publish(trained, registry)


def test_it_ranks_what_suits_people_over_chance(trained: TrainedModel) -> None:
    """Half of the events suit a person: at random a tenth place holds a suiting one half of the time."""
    random = np.random.default_rng(5)
    scores = random.normal(size=(len(trained.dataset.people), len(trained.dataset.events))).astype(np.float32)
    rows = trained.dataset.interactions
    likes = rows.take(rows.weight >= 0.5)
    nothing = rows.take(np.zeros(len(rows), bool))
    people, events = trained.person_vectors(), trained.event_vectors()
    ours = evaluation.evaluate(lambda who: people[who] @ events.T, nothing, likes)
    chance = evaluation.evaluate(lambda who: scores[who], nothing, likes)
    assert ours["ndcg@10"] > 1.5 * chance["ndcg@10"]


def test_its_report_compares_it_with_simple_models(trained: TrainedModel) -> None:
    assert trained.results.keys() == {"two_tower", "popularity", "ease", "ease_cut"}
    assert trained.results["two_tower"]["ndcg@10"] > trained.results["popularity"]["ndcg@10"]
    assert "two_tower" in table(trained.results)


def test_on_disk_it_is_the_same_model(trained: TrainedModel, published: Manifest, registry: ModelRegistry) -> None:
    loaded = model_files.load(*registry.verified(published.version), threads=1)
    people = loaded.embed_people(people_features(trained.dataset.people))
    events = loaded.embed_events(event_features(trained.dataset.events))
    np.testing.assert_allclose(people, trained.person_vectors(), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(events, loaded.stored.vectors, rtol=1e-4, atol=1e-5)
    assert published.metrics == trained.results
    assert published.data_fingerprint == trained.dataset.fingerprint


@pytest.mark.parametrize("seed", [2, 3])
def test_a_person_is_the_same_with_and_without_tensorflow(
    published: Manifest, registry: ModelRegistry, seed: int
) -> None:
    from serve_apps.tensorflow_setup import tf

    tower = tf.saved_model.load(str(registry.verified(published.version)[1] / model_files.PERSON_TOWER))
    tables = person_tower.read(tower)
    assert tables is not None
    people = person_tower.made_up_people(len(tables.liked), seed)
    np.testing.assert_allclose(tables.embed(*people), tower.embed(*people).numpy(), rtol=1e-5, atol=1e-5)
    none = tuple(part[:0] for part in people)
    assert tables.embed(*none).shape == (0, tables.liked.shape[1] + 1)


def test_a_tower_of_another_kind_is_asked_itself(published: Manifest, registry: ModelRegistry) -> None:
    """One that is named and shaped as Flow's but computes something else, and one that is something else."""
    from serve_apps.tensorflow_setup import tf

    tower = tf.saved_model.load(str(registry.verified(published.version)[1] / model_files.PERSON_TOWER))
    tables = person_tower.read(tower)
    assert tables is not None

    class Twice:
        def __init__(self) -> None:
            self.tower = tower.tower

        def embed(self, *people: object) -> object:
            return 2.0 * tower.embed(*people)

    assert person_tower.read(Twice()) is None
    assert person_tower.read(object()) is None


def test_strangers_get_new_events_of_their_interests(published: Manifest, registry: ModelRegistry) -> None:
    """Neither the people nor the events were in the training data; only content can tell them apart."""
    engine = engine_with(SystemClock(), 100)
    engine.use_model(model_files.load(*registry.verified(published.version), threads=1))
    fresh = [event(f"fresh-{taste}-{number}", taste) for taste in ("jazz", "python") for number in range(5)]
    engine.use_events(fresh)
    for taste in ("jazz", "python"):
        [answer] = engine.answer([RecommendationRequest(user_id="stranger", limit=5, interests=(taste,))])
        assert isinstance(answer, RecommendationAnswer)
        assert {scored.event_id for scored in answer.events} == {f"fresh-{taste}-{number}" for number in range(5)}


async def test_where_nobody_tells_interests_people_get_what_they_liked(registry: ModelRegistry) -> None:
    trained = await train(two_tastes(told=False), SETTINGS)
    published = publish(trained, registry)
    engine = engine_with(SystemClock(), 100, diversity=0.0)  # which would bring some of the other taste
    engine.use_model(model_files.load(*registry.verified(published.version), threads=1))
    engine.use_events(events_of_two_tastes(40))
    answers = engine.answer([RecommendationRequest(user_id=f"user-{number}", limit=10) for number in range(8)])
    suiting = [
        scored.event_id.startswith("jazz" if number % 2 == 0 else "python")
        for number, answer in enumerate(answers)
        if isinstance(answer, RecommendationAnswer)
        for scored in answer.events
    ]
    assert len(suiting) == 80
    assert sum(suiting) >= 72


async def test_a_dozen_interactions_of_ids_alone_are_enough(registry: ModelRegistry) -> None:
    rows = [InteractionRow(f"u{number % 3}", f"e{number % 5}", "interested", 0.7, number) for number in range(12)]
    steps: list[TrainingProgress] = []
    run = Run(TrainingSettings(two_tower=TwoTowerSettings(epochs_without_split=2)))
    outcome = await train_and_publish(ListedData(rows), registry, run, progress=steps.append)
    manifest = outcome.manifest
    assert outcome.promoted
    assert manifest.metrics == {}
    assert [step.epoch for step in steps if step.stage == "fitting two_tower on everything"] == [0, 1, 2]
    model = model_files.load(*registry.verified(manifest.version), threads=1)
    assert np.isfinite(model.embed_people(people_features([ModelPerson(user_id="u0")]))).all()


async def test_data_in_which_nobody_likes_anything_is_refused() -> None:
    with pytest.raises(FlowError) as caught:
        await train(ListedData([InteractionRow("u", "e", "dismiss", 0.0, 1)]))
    assert caught.value.kind is TRAINING_DATA_INVALID


def test_files_that_are_no_model_are_refused(published: Manifest, registry: ModelRegistry) -> None:
    directory = registry.verified(published.version)[1]
    (directory / "person_tower" / "saved_model.pb").write_bytes(b"not a graph")
    with pytest.raises(FlowError) as caught:
        model_files.load(published, directory, threads=1)
    assert caught.value.kind is MODEL_INVALID


def test_a_model_of_other_features_is_refused(published: Manifest, registry: ModelRegistry) -> None:
    directory = registry.verified(published.version)[1]
    published.parameters["featureVersion"] = 0
    with pytest.raises(FlowError, match="train again"):
        model_files.load(published, directory, threads=1)


def test_a_first_like_counts_at_once(trained: TrainedModel, published: Manifest, registry: ModelRegistry) -> None:
    """A person whom training never saw, without interests: what that person just liked is all there is."""
    loaded = model_files.load(*registry.verified(published.version), threads=1)
    for taste in ("jazz", "python"):
        liked = [one.event_id for one in trained.dataset.events if taste in one.tags][:2]
        found = loaded.retrieve("stranger", liked, 5, seen=liked)
        assert {one.event_id.split("-")[0] for one in found} == {taste}
        assert not {one.event_id for one in found} & set(liked)


def test_a_like_of_a_moment_ago_changes_the_answer(published: Manifest, registry: ModelRegistry) -> None:
    """Through the engine, by the towers alone: the same person, before and after a first like."""
    engine = engine_with(SystemClock(), 100, sources={name: 0 for name in SOURCES if name != "two_tower"})
    engine.use_model(model_files.load(*registry.verified(published.version), threads=1))
    engine.use_events(events_of_two_tastes(40))
    for taste in ("jazz", "python"):
        liked = (Acted(f"{taste}-0", 1.0, 1), Acted(f"{taste}-1", 0.7, 0))
        [answer] = engine.answer([RecommendationRequest(user_id="stranger", limit=10, history=liked)])
        assert isinstance(answer, RecommendationAnswer)
        assert {scored.event_id.split("-")[0] for scored in answer.events[:8]} == {taste}
