"""What one process of the cluster is told when it is made: who it is, and everything its installation agreed on.

The supervisor makes one for each process and hands it to the actor as its only argument. Ray keeps it, so an actor
that is restarted without the supervisor starts with the same words. It does not say which host or edge the process is:
names change hands, and the cluster's view says who holds one.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from cluster.run.secrets import Secrets
from cluster.run.settings import Settings
from storage.settings import StorageSettings


@dataclass(frozen=True, slots=True)
class ProcessPlan:
    """`name` is the actor's, never a member's. `storage` has the addresses to use, embedded or not. `port` is the
    public one of edges."""

    name: str
    kind: Literal["host", "edge"]
    settings: Settings
    secrets: Secrets
    storage: StorageSettings
    models_directory: Path
    logs_directory: Path
    port: int
    link_host: str | None
    """Where hosts' links and edges' private ports listen; None: at the node's own address."""

    def __repr__(self) -> str:
        return f"ProcessPlan({self.name})"
