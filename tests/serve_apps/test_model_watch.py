"""The watch: follows the pointer, refuses what is broken, keeps what works, survives a catalogue that is away."""

import asyncio
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from cluster.kernel.clock import ManualClock
from cluster.kernel.errors import MODEL_INVALID, UNAVAILABLE, FlowError
from serve_apps.contracts import CatalogueChanges, CatalogueEvent, LiveEvents, ScoredEvent, Signals
from serve_apps.engine import LoadedModel
from serve_apps.model_watch import REFUSED_SECONDS, WHOLE_SECONDS, ModelWatch, Periods
from serve_apps.registry import ModelRegistry
from tests.serve_apps.builders import engine_with, event
from tests.serve_apps.toy_model import ToyModel


class World:
    """A registry on disk, a catalogue in a list, and a watch that is stepped by hand."""

    def __init__(self, directory: Path) -> None:
        self.clock = ManualClock()
        self.registry = ModelRegistry(directory, clock=self.clock)
        self.engine = engine_with(self.clock, 100)
        self.changed: list[CatalogueEvent] | None = None
        self.signal = Signals()
        self.events: list[CatalogueEvent] | None = [event("a")]
        self.reading_takes = 0.0
        self.readings = 0
        self.may_end = asyncio.Event()
        self.may_end.set()
        self.loads: list[str] = []
        self.watch = ModelWatch(
            self.engine, self.registry, self._load, self._open_catalogue, self.clock, Periods(0.001, 0.001, 0.001)
        )

    def _load(self, version: str) -> tuple[LoadedModel, None]:
        self.loads.append(version)
        manifest, directory = self.registry.verified(version)
        if (directory / "weights").read_bytes() == b"unloadable":
            raise FlowError(MODEL_INVALID, "cannot be loaded")
        model = ToyModel(len(self.loads))
        model.version = manifest.version
        return model, None

    async def _open_catalogue(self) -> "World":
        if self.events is None:
            raise FlowError(UNAVAILABLE, "no database")
        return self

    async def live_events(self, now_ms: int, most: int) -> LiveEvents:
        if self.events is None:
            raise FlowError(UNAVAILABLE, "the database went away")
        self.readings += 1
        self.clock.advance(self.reading_takes)
        found = LiveEvents(tuple(self.events[:most]), max(0, len(self.events) - most))
        await self.may_end.wait()
        return found

    async def changes(self, since_ms: int) -> CatalogueChanges | None:
        if self.changed is None:
            return None
        return CatalogueChanges(events=tuple(self.changed), cursor_ms=since_ms + 1)

    async def signals(self, now_ms: int) -> Signals:
        if self.events is None:
            raise FlowError(UNAVAILABLE)
        return self.signal

    async def close(self) -> None:
        """Nothing is open."""

    def publish(self, content: bytes = b"good") -> str:
        def write(directory: Path) -> None:
            (directory / "weights").write_bytes(content)

        return self.registry.publish(write, code_version="", data_fingerprint="", metrics={}, parameters={}).version

    def damage(self, version: str) -> None:
        (self.registry.verified(version)[1] / "weights").write_bytes(b"other")


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    made = World(tmp_path)
    yield made
    await made.watch.stop()


async def test_it_follows_the_pointer_and_loads_each_version_once(world: World) -> None:
    await world.watch.look_at_pointer()
    assert world.engine.loaded_version is None
    await world.watch.look_at_catalogue()
    first, second = world.publish(), world.publish()
    for version in (first, second, first):
        world.registry.promote(version)
        await world.watch.look_at_pointer()
        await world.watch.look_at_pointer()
        assert world.engine.model_version == version
    assert world.loads == [first, second, first]


async def test_a_version_damaged_after_promotion_is_refused_and_the_last_good_one_stays(world: World) -> None:
    await world.watch.look_at_catalogue()
    good, bad = world.publish(), world.publish()
    world.registry.promote(good)
    await world.watch.look_at_pointer()
    world.registry.promote(bad)
    world.damage(bad)
    await world.watch.look_at_pointer()
    assert world.engine.model_version == good
    assert "checksum" in world.watch.statistics()["refused"][bad]


async def test_a_refused_version_is_left_alone_for_a_while_then_tried_again(world: World) -> None:
    version = world.publish(b"unloadable")
    world.registry.promote(version)
    for _ in range(3):
        await world.watch.look_at_pointer()
    assert world.loads == [version]
    world.clock.advance(REFUSED_SECONDS)
    await world.watch.look_at_pointer()
    assert world.loads == [version, version]


async def test_a_replica_that_starts_with_a_broken_version_takes_the_one_before(world: World) -> None:
    good, bad = world.publish(), world.publish(b"unloadable")
    world.registry.promote(good)
    world.registry.promote(bad)
    await world.watch.look_at_pointer()
    assert world.engine.loaded_version == good


async def test_promoting_again_forgets_the_refusal(world: World) -> None:
    bad, good = world.publish(b"unloadable"), world.publish()
    world.registry.promote(bad)
    await world.watch.look_at_pointer()
    assert world.watch.statistics()["refused"]
    world.registry.promote(good)
    await world.watch.look_at_pointer()
    third = world.publish()
    world.registry.promote(third)
    await world.watch.look_at_pointer()
    assert world.watch.statistics()["refused"] == {}


async def test_a_damaged_pointer_changes_nothing_and_is_told(world: World, tmp_path: Path) -> None:
    version = world.publish()
    world.registry.promote(version)
    await world.watch.look_at_pointer()
    (tmp_path / "two_tower" / "live.json").write_bytes(b"\0")
    await world.watch.look_at_pointer()
    assert world.engine.loaded_version == version
    assert "live pointer" in world.watch.statistics()["refused"]


async def test_a_catalogue_that_is_away_at_first_and_later(world: World) -> None:
    world.registry.promote(world.publish())
    await world.watch.look_at_pointer()
    events, world.events = world.events, None
    await world.watch.look_at_catalogue()
    assert world.watch.statistics()["catalogueProblem"] == "no database"
    assert world.engine.model_version is None
    world.events = events
    await world.watch.look_at_catalogue()
    assert world.watch.statistics()["catalogueProblem"] is None
    world.events = None
    await world.watch.look_at_catalogue()
    assert world.engine.statistics()["liveEvents"] == 1


async def test_the_catalogue_is_asked_for_as_much_as_the_engine_holds(world: World) -> None:
    world.events = [event(f"e{number}") for number in range(world.engine.catalogue_limit + 7)]
    await world.watch.look_at_catalogue()
    statistics = world.engine.statistics()
    assert (statistics["liveEvents"], statistics["leftOutEvents"]) == (world.engine.catalogue_limit, 7)


async def test_a_whole_reading_that_fails_is_tried_again_at_the_next_look(world: World) -> None:
    events, world.changed = world.events, [event("b")]
    world.watch._catalogue = world
    world.events = None
    await world.watch.look_at_catalogue()
    assert world.watch.statistics()["catalogueProblem"] == "the database went away"
    world.events = events
    await world.watch.look_at_catalogue()
    assert (world.readings, world.engine.statistics()["liveEvents"]) == (1, 2)


async def test_waiting_for_a_model_to_load_is_no_cost_of_the_catalogue(world: World) -> None:
    """A refresh is spaced by what it costs; the load before it in the thread must not space it."""
    world.registry.promote(world.publish())
    begun, release = threading.Event(), threading.Event()
    load = world.watch._load

    def slow(version: str) -> tuple[LoadedModel, None]:
        begun.set()
        assert release.wait(30)
        world.clock.advance(60)
        return load(version)

    world.watch._load = slow
    loading = asyncio.ensure_future(world.watch.look_at_pointer())
    assert await asyncio.to_thread(begun.wait, 30)
    looking = asyncio.ensure_future(world.watch.look_at_catalogue())
    async with asyncio.timeout(10):
        while world.watch._thread._work_queue.empty():  # noqa: ASYNC110 - until it waits behind the load
            await asyncio.sleep(0)
    release.set()
    await loading
    assert await looking == 0.0
    assert world.engine.statistics()["liveEvents"] == 1


async def test_a_loop_that_ends_is_told(world: World) -> None:
    class Torn(ManualClock):
        def monotonic(self) -> float:
            raise ZeroDivisionError

    watch = ModelWatch(world.engine, world.registry, world._load, world._open_catalogue, Torn(), Periods())
    watch.start()
    async with asyncio.timeout(10):
        while watch.failure is None:  # noqa: ASYNC110 - nothing to wait on but the loop itself
            await asyncio.sleep(0)
    await watch.stop()
    assert isinstance(watch.failure, ZeroDivisionError)


async def test_between_two_whole_readings_only_what_changed_is_read(world: World) -> None:
    await world.watch.look_at_catalogue()
    world.events, world.changed = [event("never read")], [event("b")]
    await world.watch.look_at_catalogue()
    assert world.engine.statistics()["liveEvents"] == 2
    world.changed = None  # it cannot be told: everything is read again
    await world.watch.look_at_catalogue()
    assert world.engine.statistics()["liveEvents"] == 1
    world.events, world.changed = [event("a"), event("b"), event("c")], []
    world.clock.advance(WHOLE_SECONDS)
    await world.watch.look_at_catalogue()
    assert world.engine.statistics()["liveEvents"] == 3


async def test_what_is_published_after_a_long_reading_does_not_wait_for_what_the_reading_cost(world: World) -> None:
    world.reading_takes, world.changed = 60.0, [event("b")]
    world.watch.start()
    async with asyncio.timeout(10):
        while world.engine.statistics()["liveEvents"] < 2:  # noqa: ASYNC110 - nothing to wait on but the loop itself
            await asyncio.sleep(0)
    assert world.readings == 1


async def test_what_is_published_during_a_whole_reading_is_taken_over_and_stays(world: World) -> None:
    await world.watch.look_at_catalogue()
    world.clock.advance(WHOLE_SECONDS)
    world.may_end.clear()
    looking = asyncio.ensure_future(world.watch.look_at_catalogue())
    async with asyncio.timeout(10):
        while world.readings < 2:  # noqa: ASYNC110 - nothing to wait on but the loop itself
            await asyncio.sleep(0)
        world.changed = [event("b")]
        while world.engine.statistics()["liveEvents"] < 2:  # noqa: ASYNC110
            await asyncio.sleep(0)
    world.may_end.set()
    await looking
    assert world.engine.statistics()["liveEvents"] == 2, "the reading had begun before it was there"


async def test_a_whole_reading_ends_with_its_watch(world: World) -> None:
    world.may_end.clear()
    world.watch.start()
    async with asyncio.timeout(10):
        while world.readings == 0:  # noqa: ASYNC110 - nothing to wait on but the loop itself
            await asyncio.sleep(0)
        await world.watch.stop()
    assert world.watch.failure is None


async def test_where_changes_cannot_be_told_whole_readings_are_spaced_by_their_cost(world: World) -> None:
    world.reading_takes = 10.0
    await world.watch.look_at_catalogue()
    world.events = [event("a"), event("b")]
    for _ in range(3):
        await world.watch.look_at_catalogue()
    assert (world.readings, world.engine.statistics()["liveEvents"]) == (1, 1)
    world.clock.advance(91)
    await world.watch.look_at_catalogue()
    assert (world.readings, world.engine.statistics()["liveEvents"]) == (2, 2)


async def test_what_people_do_is_taken_over_and_its_absence_survived(world: World) -> None:
    await world.watch.look_at_catalogue()
    world.signal = Signals(trending=(ScoredEvent("a", 2.0),), going={"a": 3, "gone": 9})
    await world.watch.look_at_signals()
    assert world.engine._live is not None
    assert world.engine._live.snapshot.columns.going.tolist() == [3]
    world.events = None
    assert await world.watch.look_at_signals() == 0.0
