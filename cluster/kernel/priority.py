"""How much of the processor a process that starts may take from those that serve.

A host that starts imports for two seconds. On a small machine that is felt by everyone who talks meanwhile, although a
standby has long taken the dead host's name. So Ray's workers start with `starting_niceness()` and each process that
serves calls `restore` when its imports are done. Only a process that may undo it is started so: without the right
to raise its priority again (the superuser's, or RLIMIT_NICE) it would stay behind for good, and then nothing changes.
"""

import os
import resource
from pathlib import Path
from typing import Final

STARTING: Final = 10
"""A tenth of the weight of one that serves: what is idle is taken all the same."""
_NORMAL: Final = 0
_LIMIT_OF_NORMAL: Final = 20
"""RLIMIT_NICE counts from 20 - niceness."""
_SYS_NICE: Final = 1 << 23
_LOOKS: Final = 3


def starting_niceness() -> int:
    """For processes that can `restore` themselves; 0 where they could not."""
    return STARTING if _may_raise() else _NORMAL


def restore() -> None:
    """Every thread of this process back to normal. Does nothing where it is not allowed or not needed."""
    if not _may_raise():
        return
    for _ in range(_LOOKS):  # a thread that was started meanwhile has its maker's niceness
        slow = [thread for thread in _threads() if _niceness(thread) > _NORMAL]
        if not slow:
            return
        for thread in slow:
            _set_normal(thread)


def _may_raise() -> bool:
    """Whether this process, and so its children, may give itself the normal priority back."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NICE)
    return soft >= _LIMIT_OF_NORMAL or soft == resource.RLIM_INFINITY or bool(_capabilities() & _SYS_NICE)


def _capabilities() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next((int(line.split()[1], 16) for line in lines if line.startswith("CapEff:")), 0)


def _threads() -> list[int]:
    return [int(path.name) for path in Path("/proc/self/task").iterdir()]


def _niceness(thread: int) -> int:
    try:
        return os.getpriority(os.PRIO_PROCESS, thread)
    except ProcessLookupError:
        return _NORMAL


def _set_normal(thread: int) -> None:
    try:
        os.setpriority(os.PRIO_PROCESS, thread, _NORMAL)
    except ProcessLookupError:
        return
