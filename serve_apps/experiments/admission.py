"""Which experiments may run: those that are what they were when they began.

Used by a replica when it is configured and now and then. It remembers an experiment when it first runs. One that was
edited since is left out, so everybody gets the control, and told; the others run. A store that is away stops nobody:
what cannot be checked now is checked later.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

from cluster.kernel.errors import FlowError
from serve_apps.experiments import edits
from serve_apps.experiments.definition import Experiment


class ExperimentStore(Protocol):
    """What began as what. Both raise FlowError UNAVAILABLE; `begin` is idempotent and never goes back a version."""

    async def begun(self) -> Mapping[str, tuple[int, str, float]]: ...

    async def begin(self, key: str, version: int, fingerprint: str, coverage: float) -> None: ...

    async def close(self) -> None: ...


class Admitted(NamedTuple):
    """`refused` maps an experiment's key to why it does not run."""

    experiments: tuple[Experiment, ...]
    refused: dict[str, str]


async def admit(experiments: Sequence[Experiment], store: ExperimentStore | None, now_ms: int) -> Admitted:
    """Never raises."""
    if store is None or not experiments:
        return Admitted(tuple(experiments), {})
    try:
        known = {key: edits.Recorded(*values) for key, values in (await store.begun()).items()}
        kept, refused = _checked(experiments, known)
        for key, record in edits.begun(kept, now_ms).items():
            if known.get(key) != record:
                await store.begin(key, *record)
    except FlowError as error:
        if not error.kind.retryable:
            raise
        return Admitted(tuple(experiments), {})
    return Admitted(tuple(kept), refused)


def _checked(
    experiments: Sequence[Experiment], known: Mapping[str, edits.Recorded]
) -> tuple[list[Experiment], dict[str, str]]:
    kept, refused = [], {}
    for one in experiments:
        try:
            edits.check([one], known)
        except FlowError as error:
            refused[one.key] = error.message
        else:
            kept.append(one)
    return kept, refused
