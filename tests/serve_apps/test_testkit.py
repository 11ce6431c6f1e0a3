"""The test kit passes what serves well and names what does not."""

import subprocess
import sys
from typing import Any

import pytest

from examples.ranker import SoonAndNear
from serve_apps.matchmaking.compatibility import CompatibilityMatcher
from serve_apps.testkit import checks
from tests.serve_apps.pipeline import stages


def problems(stage: Any) -> dict[str, str | None]:
    return {
        one.check.partition(" within")[0]: one.problem for one in checks.run(stage, budget_ms=60_000) if one.problem
    }


@pytest.mark.parametrize("stage", [SoonAndNear(), CompatibilityMatcher(), stages.First(), stages.ByPrice()])
def test_a_good_stage_passes(stage: Any) -> None:
    assert problems(stage) == {}


@pytest.mark.parametrize(
    ("stage", "check"),
    [
        (stages.Raises(), "scores one pair"),
        (stages.WrongLength(), "scores nothing when there is nothing"),
        (stages.NotANumber(), "scores one pair"),
        (stages.Chance(), "gives the same answer twice"),
        (stages.Nameless(), "has a name"),
    ],
)
def test_a_bad_one_fails_by_name(stage: Any, check: str) -> None:
    assert check in problems(stage)


def test_one_that_is_too_slow_fails() -> None:
    [slow] = [one for one in checks.run(stages.ByPrice(), budget_ms=0.0) if one.problem]
    assert slow.check == "answers within 0 ms"


def test_the_command_prints_a_line_a_check_and_tells_by_its_exit() -> None:
    def run(path: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "serve_apps.testkit", path, "--budget-ms", "60000"]
        return subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)

    good = run("examples.ranker")
    assert (good.returncode, good.stdout.splitlines()[0]) == (0, "examples.ranker is a ranker.")
    bad = run("tests.serve_apps.pipeline.stages:WrongLength")
    assert bad.returncode == 1
    assert "FAIL scores one pair" in bad.stdout
    assert run("serve_apps.contracts").returncode == 2
