"""Definitions are refused with a sentence, assignments are stable, and a running experiment is not edited silently."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.kernel.errors import EXPERIMENT_CHANGED, EXPERIMENT_INVALID, UNAVAILABLE, FlowError
from serve_apps.experiments import edits
from serve_apps.experiments.admission import admit
from serve_apps.experiments.assignment import assign
from serve_apps.experiments.definition import Experiment, parse

NOW_MS = 1_800_000_000_000


def document(**changes: Any) -> dict[str, Any]:
    return {
        "key": "ranker",
        "variations": [{"key": "linear", "weight": 0.5}, {"key": "deep", "weight": 0.5}],
        "primary": {"key": "click_rate", "numerator": "click", "denominator": "view"},
        **changes,
    }


def experiment(**changes: Any) -> Experiment:
    return parse([document(**changes)])[0]


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"variations": [{"key": "a", "weight": 0.5}, {"key": "b", "weight": 0.6}]}, "add up to 1.1"),
        ({"variations": [{"key": "a", "weight": 0.5}, {"key": "a", "weight": 0.5}]}, "same key"),
        ({"variations": [{"key": "a", "weight": 1.0}]}, "variations"),
        ({"variations": [{"key": "a", "weight": float("nan")}, {"key": "b", "weight": 1}]}, "weight"),
        ({"coverage": 1.5}, "coverage"),
        ({"colour": "red"}, "colour"),
        ({"start": "2026-02-01T00:00:00Z", "stop": "2026-01-01T00:00:00Z"}, "stops before it starts"),
        ({"start": "2026-02-01T00:00:00"}, "start"),
        ({"namespace": {"name": "n", "start": 0.5, "end": 0.5}}, "empty"),
        ({"hash_version": 3}, "hash_version"),
        ({"guardrails": [{"key": "click_rate", "numerator": "hide"}]}, "same key"),
    ],
)
def test_what_cannot_run_is_refused_with_a_sentence(changes: dict[str, Any], what: str) -> None:
    with pytest.raises(FlowError) as refused:
        experiment(**changes)
    assert refused.value.kind is EXPERIMENT_INVALID
    assert what in refused.value.message
    assert "ranker" in refused.value.message


def test_two_of_one_name_are_refused() -> None:
    with pytest.raises(FlowError, match="Two experiments are called ranker"):
        parse([document(), document()])


@given(unit=st.text(max_size=30), coverage=st.floats(0, 1), now_ms=st.integers(0, 2**42))
def test_an_assignment_does_not_change(unit: str, coverage: float, now_ms: int) -> None:
    one = experiment(coverage=coverage)
    first, again = assign(one, unit, now_ms), assign(experiment(coverage=coverage), unit, now_ms + 1)
    assert first == again
    assert first.counted or first.variation.key == "linear"
    assert assign(experiment(coverage=1.0), unit, now_ms).variation == first.variation or not first.counted


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"enabled": False}, "not_running"),
        ({"start": "2100-01-01T00:00:00Z"}, "not_running"),
        ({"stop": "2020-01-01T00:00:00Z"}, "not_running"),
        ({"targeting": [{"attribute": "country", "values": ["DE"]}]}, "not_targeted"),
        ({"targeting": [{"attribute": "platform", "values": ["ios"], "negate": True}]}, "not_targeted"),
        ({"coverage": 0.0}, "not_covered"),
    ],
)
def test_who_is_not_in_it_gets_the_control_and_is_not_counted(changes: dict[str, Any], why: str) -> None:
    found = assign(experiment(**changes), "u", NOW_MS, {"platform": "ios"})
    assert (found.why, found.variation.key, found.counted) == (why, "linear", False)


def test_parts_of_a_namespace_share_nobody() -> None:
    halves = [experiment(key=f"e{n}", namespace={"name": "home", "start": n / 2, "end": n / 2 + 0.5}) for n in (0, 1)]
    for number in range(500):
        assert sum(assign(half, f"user-{number}", NOW_MS).counted for half in halves) == 1


def test_an_override_is_for_testers_and_for_development_and_not_counted() -> None:
    one = experiment(testers=["tess"], coverage=0.0)
    assert assign(one, "u", NOW_MS, override="deep").why == "not_covered"
    for found in (
        assign(one, "tess", NOW_MS, override="deep"),
        assign(one, "u", NOW_MS, override="deep", development=True),
    ):
        assert (found.variation.key, found.counted) == ("deep", False)
    assert assign(one, "tess", NOW_MS, override="no such").why == "not_covered"
    assert assign(experiment(testers=["tess"], enabled=False), "tess", NOW_MS, override="deep").why == "not_running"


@pytest.mark.parametrize(
    "changes",
    [
        {"salt": "other"},
        {"variations": [{"key": "linear", "weight": 0.4}, {"key": "deep", "weight": 0.6}]},
        {"targeting": [{"attribute": "country", "values": ["DE"]}]},
        {"hash_version": 1},
        {"namespace": {"name": "n", "start": 0.0, "end": 0.5}},
        {"coverage": 0.2},
    ],
)
def test_an_edit_of_a_running_experiment_needs_a_new_version(changes: dict[str, Any]) -> None:
    known = edits.begun([experiment(coverage=0.5)], NOW_MS)
    with pytest.raises(FlowError) as changed:
        edits.check([experiment(**{"coverage": 0.5, **changes})], known)
    assert changed.value.kind is EXPERIMENT_CHANGED
    edits.check([experiment(**{"coverage": 0.5, **changes}, version=2)], known)


def test_what_may_change_while_it_runs() -> None:
    known = edits.begun([experiment(coverage=0.5)], NOW_MS)
    for changes in ({"coverage": 0.9}, {"enabled": False, "coverage": 0.5}, {"coverage": 0.5, "testers": ["tess"]}):
        edits.check([experiment(**changes)], known)
    assert edits.begun([experiment(enabled=False)], NOW_MS) == {}
    with pytest.raises(FlowError, match="went back"):
        edits.check([experiment(coverage=0.5)], edits.begun([experiment(version=2)], NOW_MS))


class _Store:
    """Remembers what began; or is away."""

    def __init__(self) -> None:
        self.rows: dict[str, tuple[int, str, float]] = {}
        self.is_away = False

    async def begun(self) -> dict[str, tuple[int, str, float]]:
        if self.is_away:
            raise FlowError(UNAVAILABLE)
        return dict(self.rows)

    async def begin(self, key: str, version: int, fingerprint: str, coverage: float) -> None:
        self.rows[key] = (version, fingerprint, coverage)

    async def close(self) -> None:
        """Nothing is open."""


async def test_an_edited_experiment_is_left_out_and_told_and_the_others_run() -> None:
    store = _Store()
    first, second = experiment(coverage=0.5), experiment(key="other")
    assert await admit([first, second], store, NOW_MS) == ((first, second), {})
    edited = experiment(coverage=0.5, salt="new")
    kept, refused = await admit([edited, second], store, NOW_MS)
    assert kept == (second,)
    assert "raise its version to 2" in refused["ranker"]
    raised = experiment(coverage=0.5, salt="new", version=2)
    assert (await admit([raised, second], store, NOW_MS)).refused == {}
    assert store.rows["ranker"][0] == 2
    wider = experiment(coverage=0.9, salt="new", version=2)
    assert (await admit([wider], store, NOW_MS)).experiments == (wider,)
    assert store.rows["ranker"][2] == 0.9
    store.is_away = True
    assert (await admit([edited], store, NOW_MS)).experiments == (edited,)
