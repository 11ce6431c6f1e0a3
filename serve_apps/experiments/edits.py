"""Whether an experiment may be changed: one that runs and is edited silently compares two different experiments.

Called where definitions are taken over, with what was recorded when they first ran. Coverage may be raised and an
experiment may be stopped at any time; salt, weights, variations, targeting and the like need a higher version.
"""

import hashlib
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import msgspec

from cluster.kernel.errors import EXPERIMENT_CHANGED, FlowError
from serve_apps.experiments.definition import Experiment


class Recorded(NamedTuple):
    """What is remembered of an experiment that has begun."""

    version: int
    fingerprint: str
    coverage: float


def fingerprint(experiment: Experiment) -> str:
    """The same text as long as everybody would be assigned the same, coverage aside."""
    packed = msgspec.json.encode(experiment.assigning(), order="deterministic")
    return hashlib.sha256(packed).hexdigest()


def recorded(experiment: Experiment) -> Recorded:
    return Recorded(experiment.version, fingerprint(experiment), experiment.coverage)


def begun(experiments: Iterable[Experiment], now_ms: int) -> dict[str, Recorded]:
    """What is to be remembered now: every experiment that runs."""
    return {one.key: recorded(one) for one in experiments if one.runs_at(now_ms)}


def check(experiments: Iterable[Experiment], known: Mapping[str, Recorded]) -> None:
    """Raises FlowError EXPERIMENT_CHANGED, naming the first that differs from what it was when it began."""
    for one in experiments:
        before = known.get(one.key)
        if before is None or one.version > before.version:
            continue
        if one.version < before.version:
            raise FlowError(EXPERIMENT_CHANGED, f"{one.key} went back from version {before.version} to {one.version}.")
        if fingerprint(one) != before.fingerprint:
            raise FlowError(
                EXPERIMENT_CHANGED,
                f"{one.key} has begun, and who gets what in it was changed. "
                f"Undo the change, or raise its version to {one.version + 1} to draw anew.",
            )
        if one.coverage < before.coverage:
            raise FlowError(
                EXPERIMENT_CHANGED,
                f"{one.key} has begun with a coverage of {before.coverage:g}; less of it would drop people who were "
                f"counted. Raise its version to {one.version + 1} to draw anew.",
            )
