"""The engine: one version per answer, only what is new is embedded, typed refusals."""

import threading

import msgspec
import numpy as np
import pytest

from cluster.kernel.clock import ManualClock
from cluster.kernel.errors import INVALID_REQUEST, UNAVAILABLE, FlowError
from serve_apps.contracts import RecommendationAnswer, RecommendationRequest
from serve_apps.engine import EMBEDDING_BATCH, RecommendationEngine, StoredVectors
from serve_apps.features import content_digests, event_features
from tests.serve_apps.builders import event
from tests.serve_apps.toy_model import ToyModel


@pytest.fixture
def engine() -> RecommendationEngine:
    return RecommendationEngine(ManualClock(), catalogue_limit=10_000)


def request(limit: int = 5, **changes: object) -> RecommendationRequest:
    return RecommendationRequest(user_id="u", limit=limit, **changes)  # type: ignore[arg-type]


def answered(engine: RecommendationEngine, **changes: object) -> RecommendationAnswer:
    [answer] = engine.answer([request(**changes)])  # type: ignore[arg-type]
    assert isinstance(answer, RecommendationAnswer)
    return answer


def test_without_a_model_or_a_catalogue_it_says_so(engine: RecommendationEngine) -> None:
    for step, what in ((lambda: None, "No model"), (lambda: engine.use_model(ToyModel(1)), "catalogue")):
        step()
        [refusal] = engine.answer([request()])
        assert isinstance(refusal, FlowError)
        assert refusal.kind is UNAVAILABLE
        assert what in refusal.message
        assert engine.model_version is None
    engine.use_events([event("a")])
    assert answered(engine).model_version == "v1"


@pytest.mark.parametrize("limit", [0, -1, 101])
def test_a_wrong_limit_is_refused_and_its_neighbours_are_answered(engine: RecommendationEngine, limit: int) -> None:
    engine.use_events([event("a")])
    engine.use_model(ToyModel(1))
    first, wrong, last = engine.answer([request(), request(limit), request()])
    assert isinstance(wrong, FlowError)
    assert wrong.kind is INVALID_REQUEST
    assert isinstance(first, RecommendationAnswer)
    assert first == last


def test_what_was_excluded_is_not_recommended(engine: RecommendationEngine) -> None:
    engine.use_events([event("a"), event("b")])
    engine.use_model(ToyModel(1))
    assert [scored.event_id for scored in answered(engine, exclude_event_ids=("a", "other")).events] == ["b"]


def test_an_event_ends_while_the_catalogue_still_holds_it() -> None:
    clock = ManualClock()
    engine = RecommendationEngine(clock, catalogue_limit=10)
    engine.use_events([event("a", end_ms=clock.now_ms() + 1_000)])
    engine.use_model(ToyModel(1))
    assert answered(engine).events
    clock.advance(1)
    assert not answered(engine).events


def test_only_what_is_new_or_changed_is_embedded(engine: RecommendationEngine) -> None:
    model = ToyModel(1)
    engine.use_model(model)
    engine.use_events([event("a"), event("b")])
    model.embedded.clear()
    later = msgspec.structs.replace(event("a"), end_ms=event("a").end_ms + 1)
    engine.use_events([later, event("b", "python"), event("c")])
    assert model.embedded == ["b", "c"]
    assert len(answered(engine).events) == 3


def test_stored_vectors_serve_unchanged_content(engine: RecommendationEngine) -> None:
    events = [event("a"), event("b")]
    digests = content_digests(event_features(events)).tolist()
    model = ToyModel(1, StoredVectors({"a": 0, "b": 1}, [digests[0], digests[1] ^ 1], np.array([[7], [9]], np.float32)))
    engine.use_events(events)
    engine.use_model(model)
    assert model.embedded == ["b"]
    assert {scored.event_id: scored.score for scored in answered(engine).events} == {"a": 7.0, "b": 1.0}


def test_a_large_catalogue_is_embedded_in_batches_and_cut_at_its_limit() -> None:
    engine = RecommendationEngine(ManualClock(), catalogue_limit=EMBEDDING_BATCH + 1)
    engine.use_model(ToyModel(1))
    engine.use_events([event(f"e{number}") for number in range(EMBEDDING_BATCH + 3)])
    assert engine.statistics()["candidates"] == EMBEDDING_BATCH + 1
    assert engine.statistics()["leftOutEvents"] == 2


def test_an_answer_never_mixes_versions(engine: RecommendationEngine) -> None:
    """While versions and catalogues change as fast as they can, each score belongs to the version the answer names."""
    catalogues = [[event(f"e{number}") for number in range(size)] for size in (20, 30)]
    engine.use_events(catalogues[0])
    engine.use_model(ToyModel(1))
    done = threading.Event()

    def change() -> None:
        number = 1
        while not done.is_set():
            number += 1
            engine.use_model(ToyModel(number))
            engine.use_events(catalogues[number % 2])

    changer = threading.Thread(target=change)
    changer.start()
    versions = set()
    try:
        while len(versions) < 20:
            for answer in engine.answer([request(50)] * 4):
                assert isinstance(answer, RecommendationAnswer)
                number = int(answer.model_version.removeprefix("v"))
                assert {scored.score for scored in answer.events} == {float(number * number)}
                assert len(answer.events) in {20, 30}
                versions.add(number)
    finally:
        done.set()
        changer.join()


def test_a_model_that_fails_to_embed_changes_nothing(engine: RecommendationEngine) -> None:
    class Broken(ToyModel):
        def embed_events(self, events: object) -> np.ndarray:
            raise ValueError("no")

    engine.use_events([event("a")])
    engine.use_model(ToyModel(1))
    with pytest.raises(ValueError, match="no"):
        engine.use_model(Broken(2))
    assert engine.loaded_version == engine.model_version == answered(engine).model_version == "v1"
