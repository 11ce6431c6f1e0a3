"""The pipeline as a whole: what is never shown, what each source proposes, and what happens when a stage fails."""

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from cluster.kernel.clock import ManualClock
from cluster.kernel.errors import SETTINGS_INVALID, FlowError
from serve_apps.contracts import (
    Acted,
    CatalogueEvent,
    CirclePlans,
    RecommendationAnswer,
    RecommendationRequest,
    ScoredEvent,
    Signals,
)
from serve_apps.engine import RecommendationEngine
from serve_apps.experiments import definition
from serve_apps.pipeline.plugins import make
from serve_apps.pipeline.post_ranking import order
from serve_apps.pipeline.settings import PipelineSettings, Plugin, Rule
from serve_apps.testkit import world
from tests.serve_apps.builders import engine_with
from tests.serve_apps.pipeline import stages
from tests.serve_apps.toy_model import ToyModel

HERE = "tests.serve_apps.pipeline.stages"
EVENTS = world.events(300)


def engine(events: Sequence[CatalogueEvent] = EVENTS, *, model: bool = True, **settings: Any) -> RecommendationEngine:
    made = engine_with(ManualClock(world.NOW_MS), **settings)
    made.use_events(events)
    if model:
        made.use_model(ToyModel(1))
    return made


def asked(limit: int = 10, **changes: Any) -> RecommendationRequest:
    return RecommendationRequest(**({"user_id": "ada", "limit": limit, "deadline_ms": 60_000} | changes))


def answer(made: RecommendationEngine, **changes: Any) -> RecommendationAnswer:
    return answer_to(made, asked(**changes))


def answer_to(made: RecommendationEngine, request: RecommendationRequest) -> RecommendationAnswer:
    [one] = made.answer([request])
    assert isinstance(one, RecommendationAnswer)
    return one


def ids(found: RecommendationAnswer) -> list[str]:
    return [one.event_id for one in found.events]


people = st.builds(
    asked,
    user_id=st.sampled_from(["ada", "organizer-3", "x"]),
    limit=st.integers(1, 100),
    interests=st.lists(st.sampled_from(["jazz", "chess", "", "no such thing"]), max_size=4).map(tuple),
    coordinates=st.none() | st.tuples(st.floats(-180, 180), st.floats(-90, 90)) | st.just((13.4, 52.5)),
    exclude_event_ids=st.lists(st.integers(0, 400).map("event-{}".format), max_size=300).map(tuple),
    history=st.lists(
        st.builds(Acted, st.integers(0, 400).map("event-{}".format), st.floats(0, 1), st.integers()), max_size=6
    ).map(tuple),
    circle_plans=st.lists(
        st.builds(CirclePlans, st.integers(0, 400).map("event-{}".format), st.integers(0, 9), st.integers(0, 99)),
        max_size=6,
    ).map(tuple),
    blocked_organizer_ids=st.lists(st.integers(0, 14).map("organizer-{}".format), max_size=3).map(tuple),
    radius_km=st.none() | st.floats(0.1, 100),
)
WITH_A_MODEL, WITHOUT_ONE = engine(), engine(model=False)


@settings(deadline=None)
@given(st.lists(people, min_size=1, max_size=4))
def test_whoever_asks_gets_only_what_may_be_shown_and_no_event_twice(requests: list[RecommendationRequest]) -> None:
    known = {event.event_id: event for event in EVENTS}
    for made in (WITH_A_MODEL, WITHOUT_ONE):
        for request, found in zip(requests, made.answer(requests), strict=True):
            assert isinstance(found, RecommendationAnswer)
            shown = ids(found)
            assert len(shown) == len(set(shown)) <= request.limit
            assert not set(shown) & set(request.exclude_event_ids)
            assert all(np.isfinite(one.score) and one.sources and len(one.reasons) <= 2 for one in found.events)
            for event in (known[event_id] for event_id in shown):
                assert event.is_public
                assert event.end_ms > world.NOW_MS
                assert event.capacity != 0
                assert event.organizer_id not in (request.user_id, *request.blocked_organizer_ids)


@settings(deadline=None)
@given(st.lists(people, min_size=1, max_size=4))
def test_an_answer_does_not_depend_on_who_else_is_in_the_batch(requests: list[RecommendationRequest]) -> None:
    """But for the rounding of sums, which may turn near ties round."""
    for request, together in zip(requests, WITH_A_MODEL.answer(requests), strict=True):
        alone = answer_to(WITH_A_MODEL, request)
        assert isinstance(together, RecommendationAnswer)
        scores = [sorted(one.score for one in found.events) for found in (alone, together)]
        assert scores[0] == pytest.approx(scores[1], abs=1e-3)


def test_each_source_proposes_and_says_so() -> None:
    made = engine()
    made.use_signals(Signals(trending=(ScoredEvent("event-1", 9.0),), going={}))
    open_ids = [
        event.event_id for event in EVENTS if event.is_public and event.end_ms > world.NOW_MS and event.capacity != 0
    ]
    request = {
        "interests": ("jazz",),
        "coordinates": (13.4, 52.5),
        "circle_plans": (CirclePlans(open_ids[0], 0, 3),),
        "history": (Acted(open_ids[1], 1.0, 0),),
        "limit": 100,
    }
    sources = {source for one in answer(made, **request).events for source in one.sources}
    assert sources >= {"two_tower", "collaborative", "friends", "content", "geographic"}
    for name in ("two_tower", "content", "geographic", "friends", "collaborative"):
        without = engine(sources={name: 0})
        assert name not in {source for one in answer(without, **request).events for source in one.sources}


def test_what_trends_is_proposed_and_its_reason_told() -> None:
    made = engine(model=False)
    hot = next(
        event.event_id for event in EVENTS if event.is_public and event.end_ms > world.NOW_MS and event.capacity is None
    )
    made.use_signals(Signals(trending=(ScoredEvent(hot, 3.0),), going={hot: 50}))
    one = answer(made).events[0]
    assert (one.event_id, one.sources) == (hot, ("trending",))
    assert "Many people are talking about it." in one.reasons


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"circle_plans": (CirclePlans("e", 3, 3),)}, "Three friends go."),
        ({"circle_plans": (CirclePlans("e", 1, 7),)}, "One friend goes."),
        ({"circle_plans": (CirclePlans("e", 40, 40),)}, "40 friends go."),
        (
            {"circle_plans": (CirclePlans("e", 0, 3),)},
            "Of your friends and those you follow, three go or are interested.",
        ),
        (
            {"circle_plans": (CirclePlans("e", 0, 1),)},
            "Of your friends and those you follow, one goes or is interested.",
        ),
        (
            {"circle_plans": (CirclePlans("e", 1, 7),), "kind": "social"},
            "Of your friends and those you follow, seven go or are interested.",
        ),
        ({"history": (Acted("liked", 1.0, 0),)}, "Because you liked Jazz in the park."),
        ({"interests": ("JAZZ",)}, "You are interested in JAZZ."),
        ({"coordinates": (13.4, 52.5)}, "It is round the corner."),
        ({"coordinates": (13.4, 52.46)}, "It is 4 km away."),
    ],
)
def test_reasons_are_sentences(changes: dict[str, Any], reason: str) -> None:
    liked = CatalogueEvent(
        event_id="liked", title="Jazz in the park", category="jazz", tags=(), coordinates=None, start_ms=0, end_ms=1
    )
    later = world.NOW_MS + 3_600_000
    event = msgspec.structs.replace(
        liked, event_id="e", title="More jazz", start_ms=later, end_ms=later, coordinates=(13.4, 52.5)
    )
    [one] = answer(engine([liked, event]), **changes).events
    assert reason in one.reasons


def in_words(count: int) -> str:
    return ("no", "one", "two", "three", "four", "five", "six", "seven", "eight")[count]


@settings(deadline=None, max_examples=30)
@given(st.sampled_from(["ai_personalized", "social", "trending"]), st.integers(0, 4), st.integers(0, 4))
def test_that_friends_go_is_said_of_as_many_as_do(kind: str, going: int, others: int) -> None:
    """Who is only interested, or only followed, counts in the sentence that says so and in no other."""
    event = next(one for one in EVENTS if one.is_public and one.end_ms > world.NOW_MS and one.capacity is None)
    made = engine([event], model=False)
    circle = going + others
    found = answer(made, kind=kind, circle_plans=(CirclePlans(event.event_id, going, circle),)).events
    expected = set()
    if going:
        expected.add("One friend goes." if going == 1 else f"{in_words(going).capitalize()} friends go.")
    if others and (kind == "social" or not going):
        do = "goes or is" if circle == 1 else "go or are"
        expected.add(f"Of your friends and those you follow, {in_words(circle)} {do} interested.")
    said = {sentence for one in found for sentence in one.reasons if "friend" in sentence}
    assert said == expected


def test_a_radius_leaves_out_what_is_too_far() -> None:
    far = answer(engine(), coordinates=(2.35, 48.85), radius_km=100.0, limit=50)
    known = {event.event_id: event for event in EVENTS}
    assert all(known[event_id].coordinates is None for event_id in ids(far))


def test_one_organizer_does_not_fill_the_list_while_there_are_others() -> None:
    later = world.NOW_MS + 3_600_000
    base = msgspec.structs.replace(
        EVENTS[1], start_ms=later, end_ms=later, capacity=None, is_public=True, category="jazz", tags=()
    )
    many = [msgspec.structs.replace(base, event_id=f"m{n}", organizer_id="big") for n in range(20)]
    few = [msgspec.structs.replace(base, event_id=f"f{n}", organizer_id=f"small-{n}") for n in range(4)]
    found = answer(engine([*many, *few], per_organizer=2), interests=("jazz",), limit=6)
    assert sum(event_id.startswith("m") for event_id in ids(found)) == 2
    everything = answer(engine([*many, *few], per_organizer=2), interests=("jazz",), limit=24)
    assert len(ids(everything)) == 24


def test_business_rules_pin_boost_and_leave_out() -> None:
    free = Rule(name="no free ones", free=True, action="exclude")
    pinned = Rule(name="jazz first", categories=("jazz",), action="pin")
    known = {event.event_id: event for event in EVENTS}
    found = [known[event_id] for event_id in ids(answer(engine(rules=(free, pinned)), limit=40))]
    assert all(event.price > 0 for event in found)
    is_jazz = [event.category == "jazz" for event in found]
    assert any(is_jazz)
    assert is_jazz == sorted(is_jazz, reverse=True)


def test_diversity_puts_something_else_between_what_is_alike() -> None:
    likeness = np.array([[1.0, 0.9, 0.0], [0.9, 1.0, 0.0], [0.0, 0.0, 1.0]], np.float32)
    scores, nobody = np.array([1.0, 0.9, 0.5], np.float32), np.full(3, -1, np.int32)
    assert order(scores, likeness, nobody, 3, PipelineSettings(diversity=0.0)) == [0, 1, 2]
    assert order(scores, likeness, nobody, 3, PipelineSettings(diversity=1.0)) == [0, 2, 1]


@pytest.fixture
def release() -> Iterator[None]:
    stages.RELEASE.clear()
    yield
    stages.RELEASE.set()


@pytest.mark.parametrize("name", ["Raises", "Hangs", "WrongLength", "NotANumber"])
def test_a_ranker_that_fails_is_replaced_and_the_answer_marked(name: str, release: None) -> None:
    made = engine(plugins=[Plugin(kind="ranker", path=f"{HERE}:{name}", deadline_ms=20)])
    plain = answer(engine(), interests=("jazz",))
    found = answer(made, interests=("jazz",))
    assert ids(found) == ids(plain)
    assert (found.ranker, found.fallback, found.degraded) == ("linear", True, (getattr(stages, name).name,))
    assert not plain.fallback


def test_a_ranker_of_one_s_own_decides() -> None:
    made = engine(plugins=[Plugin(kind="ranker", path=f"{HERE}:ByPrice")], diversity=0.0, freshness=0.0)
    prices = {event.event_id: event.price for event in EVENTS}
    found = answer(made)
    assert (found.ranker, found.fallback) == ("by_price", False)
    shown = [prices[event_id] for event_id in ids(found)]
    assert shown == sorted(shown, reverse=True)


def test_a_retriever_and_a_reranker_of_one_s_own() -> None:
    sources = dict.fromkeys(("two_tower", "collaborative", "content", "geographic", "friends", "trending"), 0)
    made = engine(sources=sources, plugins=[Plugin(kind="retriever", path=f"{HERE}:First", quota=30)])
    found = answer(made, limit=30)
    proposed = [one.event_id for one in found.events if one.sources == ("first",)]
    assert 0 < len(proposed) < 30, "what may not be shown was left out"
    assert {one.filler for one in found.events[len(proposed) :]} == {"upcoming"}
    backwards = engine(
        sources=sources,
        plugins=[
            Plugin(kind="retriever", path=f"{HERE}:First", quota=30),
            Plugin(kind="reranker", path=f"{HERE}:Backwards"),
        ],
    )
    turned = ids(answer(backwards, limit=30))
    assert turned == proposed[::-1] + ids(found)[len(proposed) :], "what only fills up stays below"


@pytest.mark.parametrize(
    ("path", "kind", "what"),
    [
        ("no.such.module:X", "ranker", "cannot be made"),
        (f"{HERE}:NoSuch", "ranker", "cannot be made"),
        (f"{HERE}:ByPrice", "retriever", "has no method retrieve"),
        (f"{HERE}:Nameless", "ranker", "has no name"),
    ],
)
def test_a_plugin_that_cannot_serve_is_refused_before_it_does(path: str, kind: Any, what: str) -> None:
    with pytest.raises(FlowError, match=what) as refused:
        make(Plugin(kind=kind, path=path))
    assert refused.value.kind is SETTINGS_INVALID


def test_an_experiment_chooses_the_ranker_for_its_share_and_counts_only_what_it_used() -> None:
    [experiment] = definition.parse(
        [
            {
                "key": "price",
                "variations": [
                    {"key": "off", "weight": 0.5},
                    {"key": "on", "weight": 0.5, "parameters": {"ranker": "by_price"}},
                ],
                "primary": {"key": "clicks", "numerator": "click"},
            }
        ]
    )
    made = engine(plugins=[Plugin(kind="ranker", path=f"{HERE}:ByPrice", live=False)])
    made._pipeline.experiments = (experiment,)
    seen = {}
    for number in range(40):
        found = answer(made, user_id=f"user-{number}")
        [exposure] = found.exposures
        seen[exposure.variation] = found.ranker
    assert seen == {"off": "linear", "on": "by_price"}
    forced = answer(made, user_id="user-0", overrides={"price": "on"}, development=True)
    assert (forced.ranker, forced.exposures) == ("by_price", ())
    assert answer(made, user_id="user-0", exclude_event_ids=tuple(e.event_id for e in EVENTS)).exposures == ()


def test_no_time_left_skips_sources_and_says_which() -> None:
    made = engine()
    [found] = made.answer([asked()], until=0.0)
    assert isinstance(found, RecommendationAnswer)
    assert found.fallback
    assert "two_tower" in found.degraded


def test_settings_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ValidationError, match="no source two_towers"):
        PipelineSettings(sources={"two_towers": 5})
    with pytest.raises(ValidationError, match="must be 0 to 500"):
        PipelineSettings(sources={"content": 501})
