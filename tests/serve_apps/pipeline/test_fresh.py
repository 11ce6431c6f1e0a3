"""What was just published: it is found by what it is about, and gets its look however it is ranked."""

from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.kernel.clock import ManualClock
from serve_apps.contracts import Acted, CatalogueEvent
from serve_apps.engine import RecommendationEngine
from serve_apps.pipeline.columns import MOST_NEWEST
from serve_apps.pipeline.post_ranking import order
from serve_apps.pipeline.settings import PipelineSettings, Plugin, Rule
from serve_apps.pipeline.sources import FRESH_MS
from serve_apps.testkit import world
from tests.serve_apps.builders import engine_with
from tests.serve_apps.pipeline.test_pipeline import HERE, answer_to, asked, ids
from tests.serve_apps.toy_model import ToyModel

LATER = world.NOW_MS + 48 * 3_600_000


def an_event(event_id: str, topic: str = "jazz", age_ms: int = FRESH_MS, **changes: Any) -> CatalogueEvent:
    event = CatalogueEvent(
        event_id=event_id,
        title="",
        category=topic,
        tags=(),
        coordinates=(13.4, 52.5),
        start_ms=LATER,
        end_ms=LATER,
        organizer_id=event_id,
        price=50.0,
        published_ms=world.NOW_MS - age_ms,
    )
    return msgspec.structs.replace(event, **changes)


OLD = [an_event(f"old-{number}") for number in range(60)]
FRESH = an_event("fresh", "jazz", 1_000, tags=("chess",), price=0.0)


def by_price(**settings: Any) -> RecommendationEngine:
    """A ranker that thinks nothing of what is free."""
    made = engine_with(
        ManualClock(world.NOW_MS),
        plugins=[Plugin(kind="ranker", path=f"{HERE}:ByPrice")],
        **{"freshness": 0.0, "diversity": 0.0, **settings},
    )
    made.use_events(OLD)
    made.use_model(ToyModel(1))
    return made


@pytest.mark.parametrize(
    "known", [{"interests": ("jazz", "chess")}, {"history": (Acted("old-1", 1.0, 0),)}, {"coordinates": (13.4, 52.5)}]
)
def test_what_suits_is_shown_at_once_whatever_the_ranker_thinks(known: dict[str, Any]) -> None:
    made = by_price()
    request = asked(limit=20, **known)
    assert "fresh" not in ids(answer_to(made, request))
    made.use_changes([FRESH])
    found = answer_to(made, request)
    assert ids(found).index("fresh") == 9
    assert "fresh" in found.events[9].sources
    assert "fresh" not in ids(answer_to(made, msgspec.structs.replace(request, limit=9)))


def test_it_may_be_switched_off_and_rules_hold_for_it() -> None:
    for settings_ in ({"fresh_every": 0}, {"rules": (Rule(name="nothing free", free=True, action="exclude"),)}):
        made = by_price(**settings_)
        made.use_changes([FRESH])
        assert "fresh" not in ids(answer_to(made, asked(limit=20, interests=("jazz", "chess"))))


@pytest.mark.parametrize(
    "changes",
    [
        {"category": "hiking", "tags": ()},
        {"published_ms": world.NOW_MS - FRESH_MS},
        {"is_public": False},
        {"capacity": 0},
    ],
)
def test_what_does_not_suit_is_not_new_or_may_not_be_shown_gets_none(changes: dict[str, Any]) -> None:
    made = by_price()
    made.use_changes([msgspec.structs.replace(FRESH, **changes)])
    assert "fresh" not in ids(answer_to(made, asked(limit=20, interests=("jazz", "chess"))))


def test_what_suits_best_comes_first_and_the_newest_of_equals() -> None:
    made = by_price(fresh_every=2)
    good = [an_event(f"good-{age}", tags=("chess",), age_ms=age, price=0.0) for age in (3_000, 2_000)]
    fair = [an_event("fair", age_ms=1_000, price=0.0), an_event("far", tags=("chess",), age_ms=1, coordinates=(2, 48))]
    made.use_changes([*fair, *good])
    shown = ids(answer_to(made, asked(limit=8, interests=("jazz", "chess"), coordinates=(13.4, 52.5))))
    assert shown[1::2] == ["good-2000", "good-3000", "fair", "far"]


def test_only_so_many_of_the_newest_are_looked_at_and_the_newest_is_among_them() -> None:
    made = by_price()
    made.use_events([*OLD, *(an_event(f"n-{number}", "hiking", 10_000 + number) for number in range(MOST_NEWEST + 5))])
    made.use_changes([FRESH])
    assert made._live is not None
    columns = made._live.snapshot.columns
    newest = {columns.events[row].event_id for row in columns.newest.tolist()}
    assert len(newest) == MOST_NEWEST
    assert "fresh" in newest
    assert not newest & {f"n-{MOST_NEWEST + number}" for number in range(5)}
    assert "fresh" in ids(answer_to(made, asked(limit=10, interests=("jazz", "chess"))))


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.floats(-5, 5, width=32), st.integers(-1, 4)), min_size=1, max_size=40),
    st.integers(1, 12),
    st.integers(1, 4),
    st.integers(1, 40),
    st.randoms(use_true_random=False),
)
def test_the_nth_promised_is_shown_by_its_place_unless_its_organizer_has_enough(
    given_scores: list[tuple[float, int]], every: int, cap: int, limit: int, chance: Any
) -> None:
    scores = np.array([score for score, _ in given_scores], np.float32)
    organizers = np.array([owner for _, owner in given_scores], np.int32)
    promised = chance.sample(range(len(scores)), chance.randrange(len(scores) + 1))
    chosen = PipelineSettings(fresh_every=every, per_organizer=cap, diversity=0.0)
    places = order(scores, None, organizers, limit, chosen, promised)
    assert len(places) == len(set(places)) == min(limit, len(scores))
    for nth, one in enumerate(promised, 1):
        by = nth * every
        if by <= len(places) and one not in places[:by]:
            owner = organizers[one]
            assert owner >= 0
            assert sum(organizers[place] == owner for place in places[:by]) >= cap
    if not promised:
        kept = [place for place in places if organizers[place] < 0]
        assert kept == sorted(kept, key=lambda place: (-scores[place], place))
