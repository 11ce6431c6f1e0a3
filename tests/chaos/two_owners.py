"""The cheap half of a run, before the dear one: two owners at once, in the very source that the run then starts.

Real processes seldom hold two owners of one room for long. Two hosts in one process that are both sure they own
everything show within seconds what that hides.
"""

import os
import subprocess
import sys
from pathlib import Path

import msgspec

_SEEDS = 200
_PATIENCE_S = 180.0


class Told(msgspec.Struct, frozen=True):
    """How many stories there were, and how often each promise was broken in them."""

    seeds: int
    violations: dict[str, int]


def two_owners(source: Path) -> Told:
    """Of the source there, which holds the tests' doubles too. Raises RuntimeError when there was nothing to judge."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.chaos.in_process", "--first", "--seeds", str(_SEEDS)],
        cwd=source,
        env={**os.environ, "PYTHONPATH": str(source)},
        capture_output=True,
        text=True,
        timeout=_PATIENCE_S,
        check=False,
    )
    if done.returncode not in (0, 1):
        raise RuntimeError(f"two owners in one process did not run: {done.stderr.strip()[-300:]}")
    return msgspec.json.decode(done.stdout, type=Told)
