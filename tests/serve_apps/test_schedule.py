"""Retraining by schedule, on a clock that the test moves."""

import asyncio
from typing import Any

import pytest

from cluster.kernel.clock import ManualClock
from cluster.kernel.errors import SETTINGS_INVALID, UNAVAILABLE, FlowError
from serve_apps.registry import Manifest
from serve_apps.training.job import Outcome
from serve_apps.training.schedule import LONGEST_SLEEP_S, Retraining
from serve_apps.training.settings import RetrainingSettings

WEEK_S = 168 * 3600


class World:
    """A registry in a list, runs that publish into it, and a sleep that moves the clock."""

    def __init__(self, settings: RetrainingSettings, *, stop_after_s: float) -> None:
        self.clock = ManualClock()
        self.versions: list[Manifest] = []
        self.runs: list[float] = []
        self.problem: Exception | None = None
        self._stop_after_s = stop_after_s
        self.retraining = Retraining(settings, self, self.run, self.clock, self.sleep)

    def list(self) -> tuple[Manifest, ...]:
        return tuple(self.versions)

    async def run(self) -> Outcome:
        self.runs.append(self.clock.monotonic())
        if self.problem is not None:
            raise self.problem
        manifest = Manifest(
            name="two_tower",
            version=f"v{len(self.runs)}",
            created_ms=self.clock.now_ms(),
            code_version="",
            data_fingerprint="",
            metrics={},
            parameters={},
            files={},
        )
        self.versions.append(manifest)
        return Outcome(manifest, promoted=True, reason="It is no worse.")

    async def sleep(self, seconds: float) -> None:
        assert 0 < seconds <= LONGEST_SLEEP_S
        if self.clock.monotonic() >= self._stop_after_s:
            raise asyncio.CancelledError
        self.clock.advance(seconds)

    async def watch(self) -> None:
        with pytest.raises(asyncio.CancelledError):
            await self.retraining.watch()


async def test_some_hours_after_the_start_and_then_once_a_week() -> None:
    world = World(RetrainingSettings(retry_hours=6), stop_after_s=2 * WEEK_S + 6 * 3600 - 1)
    await world.watch()
    assert world.runs == pytest.approx([6 * 3600 + week * WEEK_S for week in range(3)], abs=2)
    assert world.retraining.statistics()["done"] == 3


async def test_a_restart_neither_forgets_nor_repeats() -> None:
    world = World(RetrainingSettings(), stop_after_s=WEEK_S - 1)
    await world.run()
    world.runs.clear()
    world.clock.advance(100)
    await world.watch()
    assert world.runs == pytest.approx([WEEK_S], abs=2)


async def test_a_failed_run_is_told_and_tried_again_later() -> None:
    world = World(RetrainingSettings(retry_hours=6), stop_after_s=18 * 3600 - 1)
    world.problem = FlowError(UNAVAILABLE, "MongoDB is away.")
    await world.watch()
    assert world.runs == pytest.approx([6 * 3600, 12 * 3600, 18 * 3600], abs=2)
    assert world.retraining.statistics()["failed"] == 3
    assert world.retraining.statistics()["last"] == "MongoDB is away."


async def test_switched_off_it_ends_at_once() -> None:
    world = World(RetrainingSettings(every_hours=0), stop_after_s=0)
    await world.retraining.watch()
    assert world.runs == []


@pytest.mark.parametrize(
    "wrong",
    [{"every_hours": -1}, {"retry_hours": 0}, {"gate_metrics": ()}, {"gate_metrics": ("hits",)}, {"gate_tolerance": 1}],
)
def test_settings_that_make_no_sense_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(FlowError) as caught:
        RetrainingSettings(**wrong)
    assert caught.value.kind is SETTINGS_INVALID
