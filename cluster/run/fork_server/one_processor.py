"""A process that starts keeps to one processor for its first half second, so that those who serve have the others.

A worker starts in several threads, and takes two processors for the tenth of a second that it needs, where one does as
well: it is ready as soon. On a machine with two, messages waited for both. Several that start at once take turns.
"""

import os
import threading
from pathlib import Path
from typing import Final

START_S: Final = 0.5
_LOOKS: Final = 3


def keep_to_one(turn: int) -> None:
    """Keep this process to one of its processors, the next for the next `turn`, and give it back all of them after
    `START_S`. Threads made meanwhile are kept with it. It changes nothing where there is one processor."""
    processors = sorted(os.sched_getaffinity(0))
    if len(processors) == 1:
        return
    os.sched_setaffinity(0, {processors[turn % len(processors)]})
    timer = threading.Timer(START_S, give_back, [frozenset(processors)])
    timer.daemon = True
    timer.start()


def give_back(processors: frozenset[int]) -> None:
    """Every thread of this process may run on all of these."""
    for _ in range(_LOOKS):  # a thread that was started meanwhile is kept as its maker was
        kept = [thread for thread in _threads() if _processors(thread) != processors]
        if not kept:
            return
        for thread in kept:
            _set(thread, processors)


def _threads() -> list[int]:
    return [int(path.name) for path in Path("/proc/self/task").iterdir()]


def _processors(thread: int) -> frozenset[int]:
    try:
        return frozenset(os.sched_getaffinity(thread))
    except ProcessLookupError:
        return frozenset()


def _set(thread: int, processors: frozenset[int]) -> None:
    try:
        os.sched_setaffinity(thread, processors)
    except ProcessLookupError:
        return
