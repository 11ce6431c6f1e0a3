"""A guard beside the supervisor: if the supervisor is killed, it ends what the kernel leaves behind.

The kernel ends the supervisor's children with it, and Ray's workers end with theirs; but two of Ray's helpers, children
of children, wait up to a minute for a head that is gone. `launch` starts the guard first, tells it of them, and stops
it last. After an orderly stop it finds nothing to do.
"""

import subprocess
import sys
from pathlib import Path

import psutil

from cluster.run.guard_process import started

_PROGRAM = Path(__file__).with_name("guard_process.py")
_STOP_S = 5.0


class Guard:
    """A small process that outlives this one by a moment."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(  # noqa: S603 - the command is ours
            [sys.executable, "-I", "-S", str(_PROGRAM)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
        )

    @property
    def pid(self) -> int:
        return self._process.pid

    def watch_descendants(self) -> None:
        """Tell it of everything this process has started so far."""
        assert self._process.stdin is not None
        for process in psutil.Process().children(recursive=True):
            start = started(process.pid)
            if start is not None and process.pid != self.pid:
                self._process.stdin.write(f"{process.pid} {start}\n")
        self._process.stdin.flush()

    def close(self) -> None:
        """Let it look once and end. Call it when everything else is down."""
        try:
            self._process.communicate(timeout=_STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
