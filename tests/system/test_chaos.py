"""A short run of `make chaos`: real faults on a whole Flow of its own, and no promise broken."""

from pathlib import Path

import pytest

from tests.chaos.options import Options
from tests.chaos.run import run

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]


async def test_faults_break_no_promise(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = Options(seconds=20, seed=3, hosts=2, edges=2, phones=8, javascript_phones=4, keep=tmp_path / "run")
    outcome = await run(options, print)
    assert outcome.verdict.is_good, (outcome.numbers, outcome.verdict.examples)
    assert outcome.numbers["faults"]
    assert outcome.numbers["acked"] > 100
