"""The processes of an installation, as the supervisor's own machine sees them: itself and everything it started.

Everything is started so that it ends with the supervisor; `Leftovers` makes "no process left" true within seconds even
when a child is slow. Processes are remembered by id and start time, so a stranger that got a number again is safe.
"""

import logging
import os
import socket
import time
from typing import Any

import psutil

from cluster.run.guard_process import started

_log = logging.getLogger("flow.supervisor")

_PATIENCE_S = 1.0
_MEGABYTE = 1024 * 1024
_SAME_START_S = 0.05


def process_table(names: dict[int, str]) -> list[dict[str, Any]]:
    """{"name", "pid", "mb"} of each, the largest first. `names` says what a process id is known as; the others go by
    the name of their program."""
    own = psutil.Process()
    known = {own.pid: "supervisor", **names}
    rows: list[dict[str, Any]] = []
    for process in (own, *own.children(recursive=True)):
        try:
            name = known.get(process.pid) or process.name()
            rows.append({"name": name, "pid": process.pid, "mb": process.memory_info().rss // _MEGABYTE})
        except psutil.NoSuchProcess:
            continue
    rows.sort(key=lambda row: -row["mb"])
    return rows


def age_s(process: int) -> float:
    """How long ago a process of this machine started, to a hundredth of a second. Raises LookupError."""
    ticks = started(process)
    if ticks is None:
        raise LookupError(f"no process {process}")
    return time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")


def is_local(heartbeat: dict[str, Any]) -> bool:
    """Whether it came from a process of this machine."""
    return bool(heartbeat.get("machine") == socket.gethostname())


def is_running(heartbeat: dict[str, Any]) -> bool:
    """Whether the local process that a heartbeat came from is there, and no other has its number."""
    try:
        process = psutil.Process(int(heartbeat["pid"]))
        return bool(abs(process.create_time() - heartbeat["process_started"]) < _SAME_START_S)
    except psutil.NoSuchProcess:
        return False


def end_process(heartbeat: dict[str, Any]) -> None:
    """Kill the local process that a heartbeat came from; nothing happens when it is gone or another has its number.

    The signal works on a process that is stopped or stuck, where asking it to end would wait for it.
    """
    try:
        if is_running(heartbeat):
            psutil.Process(int(heartbeat["pid"])).kill()
    except psutil.NoSuchProcess:
        return


class Leftovers:
    """Remembers this process's descendants when made, `but` one, which ends later."""

    def __init__(self, *, but: int) -> None:
        self._processes = [process for process in psutil.Process().children(recursive=True) if process.pid != but]

    def end(self) -> None:
        """Wait a moment for them to end by themselves, then kill those that have not."""
        _, alive = psutil.wait_procs(self._processes, timeout=_PATIENCE_S)
        for process in alive:
            try:
                _log.info("ending %s (%d), which was left", process.name(), process.pid)
                process.kill()
            except psutil.NoSuchProcess:
                continue
        psutil.wait_procs(alive, timeout=_PATIENCE_S)
