"""What a server's processes cost, from /proc: CPU time and resident memory, by what each process is."""

import time
from collections.abc import Mapping
from dataclasses import dataclass

import psutil

Roles = Mapping[int, str]
"""A server's processes: process id to what it is, such as `edge`."""


@dataclass(frozen=True)
class Usage:
    """CPU seconds so far, by role, and when this was read."""

    at: float
    cpu_s: dict[str, float]


def usage(roles: Roles) -> Usage:
    cpu: dict[str, float] = {}
    for pid, role in roles.items():
        try:
            times = psutil.Process(pid).cpu_times()
        except psutil.NoSuchProcess:
            continue
        cpu[role] = cpu.get(role, 0.0) + times.user + times.system
    return Usage(time.monotonic(), cpu)


def spent(before: Usage, after: Usage) -> dict[str, float]:
    """CPU seconds between, by role."""
    return {role: after.cpu_s[role] - before.cpu_s.get(role, 0.0) for role in after.cpu_s}


def resident(roles: Roles) -> dict[str, int]:
    """Bytes, by role."""
    found: dict[str, int] = {}
    for pid, role in roles.items():
        try:
            size = psutil.Process(pid).memory_info().rss
        except psutil.NoSuchProcess:
            continue
        found[role] = found.get(role, 0) + size
    return found


def family(pid: int) -> list[int]:
    """The process and all its descendants."""
    try:
        process = psutil.Process(pid)
        return [pid, *(child.pid for child in process.children(recursive=True))]
    except psutil.NoSuchProcess:
        return []
