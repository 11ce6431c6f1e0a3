"""The data directory: held by one, free when the holder dies, and told apart from what does not run."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from cluster.kernel.errors import DATA_DIRECTORY_IN_USE, NOT_RUNNING, START_FAILED, FlowError
from cluster.run.installation import Installation

HOLDER = """
import sys
from pathlib import Path
from cluster.run.installation import Installation
with Installation(Path(sys.argv[1])).locked():
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def installation(tmp_path: Path):
    made = Installation(tmp_path / "data")
    made.prepare()
    yield made
    made.runtime.rmdir()


def test_only_one_process_holds_it_and_a_killed_one_lets_go(installation: Installation) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(installation.data)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with holder:
        assert holder.stdout.readline() == b"held\n"
        installation.write_state({"url": "http://127.0.0.1:1"})
        assert installation.is_locked()
        with pytest.raises(FlowError, match=r"http://127\.0\.0\.1:1") as caught, installation.locked():
            pass
        assert caught.value.kind is DATA_DIRECTORY_IN_USE
        assert installation.running_state() == {"url": "http://127.0.0.1:1"}
        holder.kill()
    assert not installation.is_locked()
    with installation.locked():
        assert installation.is_locked()


def test_a_state_file_alone_does_not_mean_that_it_runs(installation: Installation) -> None:
    installation.write_state({"pid": 1})
    with pytest.raises(FlowError) as caught:
        installation.running_state()
    assert caught.value.kind is NOT_RUNNING


def test_sockets_stay_short_however_long_the_data_directory_is(tmp_path: Path) -> None:
    deep = Installation(tmp_path / ("d" * 200) / ("e" * 200))
    assert len(str(deep.control_socket)) < 60
    assert deep.name != Installation(tmp_path).name


def test_a_runtime_directory_that_others_may_enter_is_refused(tmp_path: Path) -> None:
    made = Installation(tmp_path / "data")
    made.runtime.mkdir(mode=0o700)
    try:
        made.runtime.chmod(0o755)
        with pytest.raises(FlowError, match="not a directory of yours alone") as caught:
            made.prepare()
        assert caught.value.kind is START_FAILED
    finally:
        made.runtime.rmdir()


@pytest.mark.skipif(os.getuid() == 0, reason="root may write everywhere")
def test_a_directory_that_may_not_be_written_is_said(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(FlowError, match="cannot be made"):
        Installation(tmp_path / "data").prepare()


def test_a_damaged_state_file_is_no_state(installation: Installation) -> None:
    installation.write_state({"a": 1})
    (installation.data / "flow.json").write_text("{")
    assert installation.read_state() is None
