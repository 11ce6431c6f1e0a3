"""More events than a replica may hold: those that end soonest stay, however they come, and the rest are counted."""

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.kernel.clock import ManualClock
from serve_apps.contracts import CatalogueEvent
from serve_apps.engine import RecommendationEngine
from tests.serve_apps.builders import FAR_MS, engine_with, event
from tests.serve_apps.toy_model import ToyModel

LIMIT = 5


@pytest.fixture
def full() -> RecommendationEngine:
    engine = engine_with(ManualClock(), LIMIT)
    engine.use_model(ToyModel(1))
    engine.use_events([ending(number) for number in range(10, 10 + LIMIT)])
    return engine


def ending(number: int, **changes: object) -> CatalogueEvent:
    """Called `e{number}`; a higher number ends later."""
    return msgspec.structs.replace(event(f"e{number}", end_ms=FAR_MS + number), **changes)


def held(engine: RecommendationEngine) -> set[int]:
    """The numbers of the events that may be recommended."""
    live = engine._live
    assert live is not None
    columns = live.snapshot.columns
    return {int(columns.events[row].event_id[1:]) for row in columns.is_open.nonzero()[0]}


@settings(deadline=None, max_examples=60)
@given(st.lists(st.sets(st.integers(0, 60), max_size=12), max_size=8))
def test_those_that_end_soonest_stay_however_they_come(batches: list[set[int]]) -> None:
    step_by_step, at_once = engine_with(ManualClock(), LIMIT), engine_with(ManualClock(), LIMIT)
    step_by_step.use_events([])
    for batch in batches:
        step_by_step.use_changes([ending(number) for number in batch])
    everything = set[int]().union(*batches)
    at_once.use_events([ending(number) for number in everything])
    for engine in (step_by_step, at_once):
        assert held(engine) == set(sorted(everything)[:LIMIT])
        assert engine.statistics()["leftOutEvents"] == max(0, len(everything) - LIMIT)


def test_what_the_catalogue_left_out_is_counted_too() -> None:
    engine = engine_with(ManualClock(), LIMIT)
    engine.use_events([ending(number) for number in range(LIMIT)], 70)
    assert engine.statistics()["leftOutEvents"] == 70
    engine.use_changes([ending(90)])
    engine.use_changes([ending(90)])
    assert engine.statistics()["leftOutEvents"] == 71, "what is read twice counts once"
    engine.use_events([ending(number) for number in range(LIMIT)])
    assert engine.statistics()["leftOutEvents"] == 0


def test_an_event_that_is_hidden_is_hidden_though_there_is_no_room(full: RecommendationEngine) -> None:
    full.use_changes([ending(12, is_public=False)])
    assert held(full) == {10, 11, 13, 14}


def test_an_event_that_is_changed_needs_no_room_of_its_own(full: RecommendationEngine) -> None:
    full.use_changes([ending(12, title="Another title")])
    assert held(full) == {10, 11, 12, 13, 14}
    assert full.statistics()["leftOutEvents"] == 0


def test_an_event_that_is_put_off_makes_room_for_what_ends_sooner(full: RecommendationEngine) -> None:
    full.use_changes([ending(10, end_ms=FAR_MS + 99), ending(5)])
    assert held(full) == {5, 11, 12, 13, 14}
    rows = full.statistics()["rows"]
    full.use_changes([ending(10, end_ms=FAR_MS + 99), ending(5)])
    assert full.statistics()["rows"] == rows, "what was left out is not taken over again and again"
    assert full.statistics()["leftOutEvents"] == 1


def test_what_is_over_takes_nobody_s_place() -> None:
    clock = ManualClock()
    engine = engine_with(clock, 2)
    soon = clock.now_ms() + 1_000
    engine.use_events([ending(1, end_ms=soon), ending(2)])
    clock.advance(2)
    engine.use_changes([ending(3)])
    assert {2, 3} <= held(engine)
    assert engine.statistics()["leftOutEvents"] == 0


def test_many_that_are_left_out_do_not_pile_up(full: RecommendationEngine) -> None:
    for number in range(1_500):
        full.use_changes([ending(13, title=f"Night {number}", end_ms=FAR_MS + 100 + number)])
    assert full.statistics()["rows"] < 600
    assert held(full) == {10, 11, 12, 13, 14}
