"""The program of the guard: waits until the supervisor is gone, then ends what it was told of and is still there.

Started by `guard.Guard` as a file, with nothing but the standard library, so that it is small and quick. A process is
known by its number and its start, so a stranger that got the number later is safe.
"""

import os
import signal
import sys
from pathlib import Path


def started(process: int) -> int | None:
    """When a process started, in the kernel's ticks since it booted; None when it is gone or has ended."""
    try:
        text = Path(f"/proc/{process}/stat").read_text()
    except OSError:
        return None
    state, *fields = text.rpartition(")")[2].split()
    return None if state == "Z" else int(fields[18])


def end(process: int, start: int) -> None:
    if started(process) == start:
        os.kill(process, signal.SIGKILL)


def main() -> None:
    told = [line.split() for line in sys.stdin]  # ends when the supervisor does, whatever ended it
    for process, start in told:
        try:
            end(int(process), int(start))
        except ProcessLookupError:
            continue


if __name__ == "__main__":
    main()
