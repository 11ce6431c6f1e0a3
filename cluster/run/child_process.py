"""A child process that cannot outlive its parent.

The kernel kills the child when the thread that started it ends, however that comes about (PR_SET_PDEATHSIG), so
`start` is called on the main thread only. Used for the embedded servers. Its output goes to a log file.
"""

import asyncio
import ctypes
import os
import signal
import subprocess
import threading
from collections.abc import Sequence
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_libc = ctypes.CDLL(None, use_errno=True)


def _die_with_parent() -> None:
    """Runs in the child between fork and exec: nothing here allocates much or takes a lock."""
    if _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        os._exit(127)


def adopt_orphans() -> None:
    """Descendants whose parent ends become children of this process, not of the machine's first: those that a fork
    server made outlive it, and are still known as ours. Whoever notices one's end calls `bury`. Raises OSError."""
    if _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl")


def bury(process: int) -> None:
    """Let go of a child that has ended, if it is one; nothing happens otherwise."""
    try:
        os.waitpid(process, os.WNOHANG)
    except ChildProcessError:
        return


class ChildProcess:
    """One running child."""

    def __init__(self, process: "subprocess.Popen[bytes]", name: str) -> None:
        self._process = process
        self.name = name

    @classmethod
    def start(cls, name: str, command: Sequence[str], log: Path, directory: Path) -> "ChildProcess":
        """Raises OSError when it cannot be started."""
        if threading.current_thread() is not threading.main_thread():
            raise RuntimeError(f"{name} must be started on the main thread: it dies with the thread that starts it")
        with log.open("ab") as output:
            process = subprocess.Popen(  # noqa: S603 - the command is ours
                list(command),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=directory,
                start_new_session=True,
                preexec_fn=_die_with_parent,  # noqa: PLW1509 - see the function
            )
        return cls(process, name)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def return_code(self) -> int | None:
        """None while it runs."""
        return self._process.poll()

    async def wait(self) -> int:
        """Wait until it has ended, without a thread. Returns its code."""
        if self.return_code is None:
            descriptor = os.pidfd_open(self.pid)
            loop = asyncio.get_running_loop()
            ended = asyncio.Event()
            loop.add_reader(descriptor, ended.set)
            try:
                await ended.wait()
            finally:
                loop.remove_reader(descriptor)
                os.close(descriptor)
        return self._process.wait()

    async def stop(self, timeout_s: float) -> None:
        """Ask it to end; past `timeout_s` kill it."""
        if self.return_code is None:
            self._process.terminate()
        try:
            await asyncio.wait_for(self.wait(), timeout_s)
        except TimeoutError:
            self.kill()

    def kill(self) -> None:
        """End it now; it is gone when this returns."""
        if self.return_code is None:
            self._process.kill()
            self._process.wait()
