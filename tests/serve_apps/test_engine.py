"""The engine: one version per answer, only what is new is embedded, typed refusals, and never an empty hand."""

import threading
from collections.abc import Sequence

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.kernel.clock import ManualClock
from cluster.kernel.errors import EVENT_NOT_FOUND, INVALID_REQUEST, UNAVAILABLE, FlowError
from serve_apps.contracts import (
    Acted,
    RecommendationAnswer,
    RecommendationRequest,
    ScoredEvent,
    Signals,
    SimilarRequest,
)
from serve_apps.engine import EMBEDDING_BATCH, RecommendationEngine, StoredVectors
from serve_apps.features import Features, content_digests, event_features
from tests.serve_apps.builders import engine_with, event
from tests.serve_apps.toy_model import ToyModel


@pytest.fixture
def engine() -> RecommendationEngine:
    return engine_with(ManualClock())


def request(limit: int = 5, **changes: object) -> RecommendationRequest:
    settings = {"user_id": "u", "limit": limit, "deadline_ms": 60_000} | changes
    return RecommendationRequest(**settings)  # type: ignore[arg-type]


def answered(engine: RecommendationEngine, **changes: object) -> RecommendationAnswer:
    [answer] = engine.answer([request(**changes)])  # type: ignore[arg-type]
    assert isinstance(answer, RecommendationAnswer)
    return answer


def ids(answer: RecommendationAnswer) -> list[str]:
    return [scored.event_id for scored in answer.events]


def test_without_a_catalogue_it_says_so(engine: RecommendationEngine) -> None:
    [refusal] = engine.answer([request()])
    assert isinstance(refusal, FlowError)
    assert refusal.kind is UNAVAILABLE
    engine.use_model(ToyModel(1))
    assert engine.model_version is None
    engine.use_events([event("a")])
    assert answered(engine).model_version == "v1"


def test_without_a_model_the_other_sources_answer_and_the_answer_is_marked(engine: RecommendationEngine) -> None:
    engine.use_events([event("a"), event("b", "python")])
    answer = answered(engine, interests=("jazz",), limit=1)
    assert ids(answer) == ["a"]
    assert (answer.fallback, answer.model_version, answer.ranker) == (True, None, "linear")
    assert answer.events[0].reasons == ("You are interested in jazz.",)
    assert answer.events[0].sources == ("content",)


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
    assert ids(answered(engine, exclude_event_ids=("a", "other"))) == ["b"]
    assert ids(answered(engine, exclude_event_ids=("a", "b"))) == []


def test_an_event_ends_fills_up_or_is_taken_back_while_the_catalogue_still_holds_it() -> None:
    clock = ManualClock()
    engine = engine_with(clock)
    small = msgspec.structs.replace(event("small"), capacity=2)
    engine.use_events([event("a", end_ms=clock.now_ms() + 1_000), small, event("b")])
    engine.use_model(ToyModel(1))
    assert sorted(ids(answered(engine))) == ["a", "b", "small"]
    clock.advance(1)
    engine.use_signals(Signals(going={"small": 2}))
    assert ids(answered(engine)) == ["b"]
    engine.use_changes([msgspec.structs.replace(event("b"), is_public=False)])
    assert ids(answered(engine)) == []


def test_only_what_is_new_or_changed_is_embedded(engine: RecommendationEngine) -> None:
    model = ToyModel(1)
    engine.use_model(model)
    engine.use_events([event("a"), event("b")])
    model.embedded.clear()
    later = msgspec.structs.replace(event("a"), end_ms=event("a").end_ms + 1)
    engine.use_events([later, event("b", "python"), event("c")])
    assert model.embedded == ["b", "c"]
    assert len(answered(engine).events) == 3
    model.embedded.clear()
    engine.use_changes([later, event("c", "python"), event("d")])
    assert model.embedded == ["c", "d"]
    assert sorted(ids(answered(engine, limit=10))) == ["a", "b", "c", "d"]


def test_stored_vectors_serve_unchanged_content(engine: RecommendationEngine) -> None:
    events = [event("a"), event("b")]
    digests = content_digests(event_features(events)).tolist()
    model = ToyModel(1, StoredVectors({"a": 0, "b": 1}, [digests[0], digests[1] ^ 1], np.array([[7], [9]], np.float32)))
    engine.use_events(events)
    engine.use_model(model)
    assert model.embedded == ["b"]
    assert engine._live is not None
    assert engine._live.snapshot.vectors is not None
    assert engine._live.snapshot.vectors.tolist() == [[7.0], [1.0]]


def test_a_large_catalogue_is_embedded_in_batches_and_cut_at_its_limit() -> None:
    engine = engine_with(ManualClock(), EMBEDDING_BATCH + 1)
    engine.use_model(ToyModel(1))
    engine.use_events([event(f"e{number}") for number in range(EMBEDDING_BATCH + 3)])
    assert engine.statistics()["liveEvents"] == EMBEDDING_BATCH + 1
    assert engine.statistics()["leftOutEvents"] == 2
    engine.use_changes([event("one more")])
    assert engine.statistics()["liveEvents"] == EMBEDDING_BATCH + 1
    assert engine.statistics()["leftOutEvents"] == 3


@settings(deadline=None)
@given(st.lists(st.lists(st.tuples(st.integers(0, 9), st.booleans(), st.sampled_from(["jazz", "python"])), max_size=4)))
def test_changes_one_by_one_equal_a_whole_reading(steps: list[list[tuple[int, bool, str]]]) -> None:
    clock = ManualClock()
    step_by_step, at_once = engine_with(clock), engine_with(clock)
    for engine in (step_by_step, at_once):
        engine.use_model(ToyModel(1))
        engine.use_events([event("e0")])
    known = {"e0": event("e0")}
    for step in steps:
        changes = {f"e{number}": event(f"e{number}", tag, is_public=public) for number, public, tag in step}
        step_by_step.use_changes(tuple(changes.values()))
        known |= changes
    at_once.use_events(tuple(known.values()))
    for interests in ((), ("jazz",)):
        first, second = (answered(engine, limit=50, interests=interests) for engine in (step_by_step, at_once))
        assert sorted(ids(first)) == sorted(ids(second))
        assert {one.event_id: one.sources for one in first.events} == {
            one.event_id: one.sources for one in second.events
        }


def test_many_changes_do_not_pile_up(engine: RecommendationEngine) -> None:
    engine.use_events([event("a")])
    engine.use_model(ToyModel(1))
    for number in range(1_500):
        engine.use_changes([msgspec.structs.replace(event("a"), title=f"Night {number}")])
    assert engine.statistics()["rows"] < 600
    assert engine.statistics()["liveEvents"] == 1


def test_an_answer_never_mixes_versions(engine: RecommendationEngine) -> None:
    """While versions and catalogues change as fast as they can, what a snapshot holds belongs together."""
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
            engine.use_changes([event("extra", "python" if number % 3 else "jazz")])

    changer = threading.Thread(target=change)
    changer.start()
    versions = set()
    try:
        while len(versions) < 20:
            live = engine._live
            assert live is not None
            assert live.snapshot.vectors is not None
            assert live.snapshot.version is not None
            number = int(live.snapshot.version.removeprefix("v"))
            assert set(live.snapshot.vectors.ravel().tolist()) == {float(number)}
            assert len(live.snapshot.vectors) == len(live.snapshot.columns) == len(live.digests)
            for answer in engine.answer([request(50)] * 4):
                assert isinstance(answer, RecommendationAnswer)
                assert {20, 21, 30, 31} >= {len(answer.events)}
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


def test_vectors_that_are_no_numbers_do_not_poison_the_rest(engine: RecommendationEngine) -> None:
    class Odd(ToyModel):
        def embed_events(self, events: object) -> np.ndarray:
            vectors = super().embed_events(events)  # type: ignore[arg-type]
            vectors[0] = np.nan
            return vectors

        def embed_people(self, people: object, histories: object = None) -> np.ndarray:
            return np.full((1, 1), np.nan, np.float32)

    engine.use_events([event("a"), event("b")])
    engine.use_model(Odd(1))
    assert engine.statistics()["candidatesDropped"] == 1
    answer = answered(engine, interests=("jazz",))
    assert sorted(ids(answer)) == ["a", "b"]
    assert all(np.isfinite(scored.score) for scored in answer.events)


def test_similar_events_are_of_the_same_kind(engine: RecommendationEngine) -> None:
    engine.use_events([event("a"), event("b"), event("c", "python"), event("over", end_ms=1)])
    found = engine.similar(SimilarRequest(event_id="a", limit=5))
    assert found.events[0].event_id == "b"
    assert found.events[0].reasons == ("It is about jazz, too.",)
    assert "over" not in [one.event_id for one in found.events]
    assert found.fallback
    engine.use_model(ToyModel(1))
    assert engine.similar(SimilarRequest(event_id="a", limit=5, exclude_event_ids=("b",))).events == (
        ScoredEvent("c", 1.0, ("similar",), ()),
    )
    for wrong, kind in (
        (SimilarRequest(event_id="x", limit=5), EVENT_NOT_FOUND),
        (SimilarRequest(event_id="a", limit=0), INVALID_REQUEST),
    ):
        with pytest.raises(FlowError) as refused:
            engine.similar(wrong)
        assert refused.value.kind is kind


def test_the_model_hears_what_the_person_liked_a_moment_ago(engine: RecommendationEngine) -> None:
    """Only likes, newest first; somebody without any is left to what training knew."""

    class Listening(ToyModel):
        def embed_people(self, people: Features, histories: Sequence[Sequence[str] | None] | None = None) -> np.ndarray:
            heard.append(histories)
            return super().embed_people(people, histories)

    heard: list[object] = []
    engine.use_events([event("a")])
    engine.use_model(Listening(1))
    history = (Acted("newest", 1.0, 3), Acted("seen", 0.3, 2), Acted("older", 0.7, 1))
    engine.answer([request(history=history), request(history=history[1:2])])
    assert heard == [[["newest", "older"], None]]
