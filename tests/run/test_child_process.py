"""A child lives no longer than its parent, whatever ends the parent."""

import signal
import subprocess
import sys
import threading
from pathlib import Path

import psutil
import pytest

from cluster.run.child_process import ChildProcess

PARENT = """
import sys
from pathlib import Path
from cluster.run.child_process import ChildProcess
child = ChildProcess.start("sleeper", ["sleep", "600"], Path(sys.argv[1]) / "log", Path(sys.argv[1]))
print(child.pid, flush=True)
sys.stdin.read()
"""


def test_it_dies_when_its_parent_is_killed(tmp_path: Path) -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with parent:
        child = psutil.Process(int(parent.stdout.readline()))
        assert child.is_running()
        parent.send_signal(signal.SIGKILL)
    gone, _ = psutil.wait_procs([child], timeout=5)
    assert gone


async def test_its_end_is_awaited_and_its_code_kept(tmp_path: Path) -> None:
    child = ChildProcess.start("three", ["sh", "-c", "echo said; exit 3"], tmp_path / "log", tmp_path)
    assert await child.wait() == 3
    assert await child.wait() == 3
    assert (tmp_path / "log").read_text() == "said\n"


async def test_one_that_ignores_the_request_to_end_is_killed(tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    script = f"trap '' TERM; echo on > {ready}; while true; do sleep 0.01; done"
    child = ChildProcess.start("stubborn", ["sh", "-c", script], tmp_path / "log", tmp_path)
    while not ready.exists():
        assert child.return_code is None
    await child.stop(timeout_s=0.05)
    assert child.return_code == -signal.SIGKILL


def test_it_refuses_to_be_started_where_it_would_die_at_once(tmp_path: Path) -> None:
    failures: list[RuntimeError] = []

    def start() -> None:
        try:
            ChildProcess.start("sleeper", ["sleep", "600"], tmp_path / "log", tmp_path)
        except RuntimeError as error:
            failures.append(error)

    thread = threading.Thread(target=start)
    thread.start()
    thread.join()
    assert len(failures) == 1


def test_a_program_that_is_not_there_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="nothing"):
        ChildProcess.start("nothing", [str(tmp_path / "nothing")], tmp_path / "log", tmp_path)
