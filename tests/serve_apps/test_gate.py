"""The gate: a new model goes live only when it is no worse than the live one."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.kernel.errors import FlowError
from serve_apps.contracts import InteractionRow
from serve_apps.registry import ModelRegistry
from serve_apps.training.gate import verdict
from serve_apps.training.job import Run, train_and_publish
from serve_apps.training.settings import RetrainingSettings, TrainingSettings
from tests.serve_apps.builders import START_MS, ListedData, events_of_two_tastes, two_tastes

RULES = RetrainingSettings(gate_metrics=("ndcg@10", "recall@20"), gate_tolerance=0.02)
GOOD = Run(TrainingSettings(models=("popularity", "ease")), serve="ease")
POOR = Run(TrainingSettings(models=("popularity", "ease")), serve="popularity")
share = st.floats(0, 1)


@given(share, share, share, share)
def test_it_passes_when_every_metric_is_within_the_tolerance(a: float, b: float, c: float, d: float) -> None:
    gate = verdict({"ndcg@10": a, "recall@20": b}, {"ndcg@10": c, "recall@20": d}, "v", RULES, "")
    assert gate.passed == (a >= c * 0.98 and b >= d * 0.98)
    assert gate.compared_with == "v"


def test_what_was_not_measured_does_not_pass() -> None:
    assert not verdict({}, {"ndcg@10": 0.1, "recall@20": 0.1}, "v", RULES, "").passed


async def test_a_worse_model_is_kept_and_the_live_one_stays(tmp_path: Path) -> None:
    registry = ModelRegistry(tmp_path)
    first = await train_and_publish(two_tastes(), registry, GOOD)
    assert first.promoted
    second = await train_and_publish(two_tastes(), registry, POOR)
    assert not second.promoted
    assert "worse than" in second.reason
    pointer = registry.live()
    assert pointer is not None
    assert pointer.version == first.manifest.version
    kept = registry.manifest(second.manifest.version)
    assert registry.state(kept, pointer) == "rejected"
    assert kept.parent == first.manifest.version
    assert kept.gate is not None
    assert kept.gate.compared_with == first.manifest.version


async def test_the_same_again_is_no_worse(tmp_path: Path) -> None:
    registry = ModelRegistry(tmp_path)
    await train_and_publish(two_tastes(), registry, GOOD)
    again = await train_and_publish(two_tastes(), registry, GOOD)
    assert again.promoted
    assert "same split" in again.reason


async def test_newer_likes_are_foreseen_by_the_live_version_itself(tmp_path: Path) -> None:
    registry = ModelRegistry(tmp_path)
    before = two_tastes()
    await train_and_publish(before, registry, GOOD)
    rows = [row async for page in before.interactions() for row in page]
    done = {(row.user_id, row.event_id) for row in rows}
    catalogue = events_of_two_tastes(40)
    for number in range(40):
        taste = "jazz" if number % 2 == 0 else "python"
        fresh = [one for one in catalogue if taste in one.tags and (f"user-{number}", one.event_id) not in done]
        rows += [InteractionRow(f"user-{number}", one.event_id, "attend", 1.0, START_MS + 10_000) for one in fresh[:3]]
    # Both were tuned on a few dozen likes, so that their l2 may differ and with it the luck of either.
    lenient = replace(GOOD, rules=RetrainingSettings(gate_tolerance=0.1))
    later = await train_and_publish(ListedData(rows, catalogue), registry, lenient)
    assert later.promoted
    assert "newer than the live version" in later.reason
    poor = await train_and_publish(ListedData(rows, catalogue), registry, POOR)
    assert not poor.promoted


async def test_a_live_version_that_is_damaged_does_not_stand_in_the_way(tmp_path: Path) -> None:
    registry = ModelRegistry(tmp_path)
    first = await train_and_publish(two_tastes(), registry, GOOD)
    (registry.verified(first.manifest.version)[1] / "model.npz").write_bytes(b"")
    second = await train_and_publish(two_tastes(), registry, POOR)
    assert second.promoted
    assert "cannot be loaded" in second.reason


async def test_without_promoting_the_live_one_stays(tmp_path: Path) -> None:
    registry = ModelRegistry(tmp_path)
    outcome = await train_and_publish(two_tastes(), registry, Run(GOOD.settings, serve="ease", promote=False))
    assert not outcome.promoted
    assert registry.live() is None


@pytest.mark.parametrize("people", [1, 3])
async def test_too_little_to_measure_is_kept_as_a_candidate_once_something_is_live(tmp_path: Path, people: int) -> None:
    registry = ModelRegistry(tmp_path)
    assert (await train_and_publish(two_tastes(people=people), registry, GOOD)).promoted
    second = await train_and_publish(two_tastes(people=people), registry, GOOD)
    assert not second.promoted
    assert "Too little data" in second.reason


async def test_less_than_asked_for_is_refused(tmp_path: Path) -> None:
    registry = ModelRegistry(tmp_path)
    with pytest.raises(FlowError, match="1,000 are asked for"):
        await train_and_publish(two_tastes(), registry, Run(GOOD.settings, serve="ease", at_least=1_000))
    assert registry.list() == ()
