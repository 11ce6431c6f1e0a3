"""The guard ends what it was told of when its parent is killed, and nothing else."""

import signal
import subprocess
import sys

import psutil
import pytest

from cluster.run.guard import Guard
from cluster.run.guard_process import end, started

PARENT = """
import subprocess, sys
from cluster.run.guard import Guard
guard = Guard()
# The child starts a session and ignores its parent's end, as helpers of other programs do.
command = ["sh", "-c", "sleep 600 & echo $!; wait"]
told = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)
grandchild = told.stdout.readline().strip()
guard.watch_descendants()
untold = subprocess.Popen(["sleep", "600"], start_new_session=True)
print(guard.pid, told.pid, grandchild, untold.pid, flush=True)
sys.stdin.read()
guard.close()
"""


@pytest.mark.parametrize("killed", [True, False])
def test_what_it_was_told_of_ends_with_its_parent(killed: bool) -> None:
    with subprocess.Popen([sys.executable, "-c", PARENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        guard, told, grandchild, untold = (psutil.Process(int(pid)) for pid in parent.stdout.readline().split())
        try:
            if killed:
                parent.send_signal(signal.SIGKILL)
            parent.stdin.close()
            parent.wait(20)
            _, alive = psutil.wait_procs([guard, told, grandchild], timeout=10)
            assert [process for process in alive if process.status() != psutil.STATUS_ZOMBIE] == []
            assert untold.is_running()
        finally:
            untold.kill()


def test_a_stranger_with_the_same_number_is_safe() -> None:
    with subprocess.Popen(["sleep", "600"]) as process:
        start = started(process.pid)
        assert start is not None
        end(process.pid, start - 1)
        assert process.poll() is None
        end(process.pid, start)
        assert process.wait(10) == -signal.SIGKILL
    assert started(process.pid) is None


def test_closing_it_ends_it() -> None:
    guard = Guard()
    process = psutil.Process(guard.pid)
    guard.close()
    assert not process.is_running()
