"""The cycle collector is kept quiet, and still finds every cycle in the end."""

import gc
import weakref
from collections.abc import Iterator

import pytest

from cluster.kernel.clock import ManualClock
from cluster.kernel.collector import QuietCollector


class Node:
    """One of two that refer to each other."""

    def __init__(self) -> None:
        self.other: Node | None = None


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def collector(clock: ManualClock) -> Iterator[QuietCollector]:
    made = QuietCollector(clock, full_every_s=60.0)
    yield made
    made.stop()


def pair() -> tuple[Node, "weakref.ref[Node]"]:
    first, second = Node(), Node()
    first.other, second.other = second, first
    return first, weakref.ref(first)


def test_what_survives_a_turn_is_out_of_sight_and_its_cycles_are_found_by_the_full_collection(
    collector: QuietCollector, clock: ManualClock
) -> None:
    kept, seen = pair()
    collector.turn()
    assert not any(found is kept for found in gc.get_objects())
    del kept
    gc.collect()
    assert seen() is not None
    clock.advance(59.0)
    collector.turn()
    assert seen() is not None
    clock.advance(1.0)
    collector.turn()
    assert seen() is None
    assert collector.statistics() == {"full_collections": 1}


def test_young_cycles_are_collected_as_ever(collector: QuietCollector) -> None:
    kept, seen = pair()
    del kept
    gc.collect(0)
    assert seen() is None


def test_rubbish_of_a_turn_is_not_put_out_of_sight(collector: QuietCollector) -> None:
    gc.disable()
    try:
        kept, seen = pair()
        del kept
        collector.turn()
    finally:
        gc.enable()
    assert seen() is None


def test_young_collections_may_wait_for_more(clock: ManualClock) -> None:
    collector = QuietCollector(clock, young=12_345, middle=3)
    try:
        assert gc.get_threshold()[:2] == (12_345, 3)
    finally:
        collector.stop()


def test_stopping_gives_everything_back(clock: ManualClock) -> None:
    before = gc.get_threshold()
    collector = QuietCollector(clock)
    assert gc.get_threshold() != before
    collector.turn()
    collector.stop()
    assert gc.get_threshold() == before
    assert gc.get_freeze_count() == 0
