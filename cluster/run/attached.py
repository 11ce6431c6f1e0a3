"""The storage of the Flow that runs, for commands that read or write it beside the running processes.

`flow token`, `import`, `train` and `outbox` use it. Addresses come from the state file when the databases are embedded
and from the environment when they are not. It promises to close what it opened.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cluster.kernel import environment
from cluster.kernel.clock import Clock, SystemClock
from cluster.kernel.errors import SETTINGS_INVALID, FlowError
from cluster.run import secrets, settings
from cluster.run.installation import Installation
from cluster.run.secrets import Secrets
from cluster.run.settings import Settings
from storage.open import Storage, open_storage
from storage.settings import StorageSettings


@dataclass(frozen=True, slots=True)
class Attachment:
    """How to reach a running Flow's databases, and what it was started with."""

    settings: Settings
    secrets: Secrets
    storage: StorageSettings
    state: dict[str, Any]


def attachment(installation: Installation) -> Attachment:
    """Raises FlowError NOT_RUNNING, or SETTINGS_INVALID when the environment lacks an address."""
    state = installation.running_state()
    path = state["settings"]
    flow = settings.load(None if path is None else Path(path)).flow
    development = state["environment"] == "development"
    found = secrets.load(environment.read(), installation.data, development=development, create=False)
    storage = replace(
        flow.storage,
        uri=_address(state["mongodb"], secrets.MONGODB_URI, found.mongodb_uri),
        redis_url=_address(state["redis"], secrets.REDIS_URL, found.redis_url),
    )
    return Attachment(flow, found, storage, state)


def _address(stated: str, variable: str, given: str | None) -> str:
    if stated != variable:
        return stated
    if given is None:
        raise FlowError(
            SETTINGS_INVALID, f"This Flow was started with {variable}. Set it to the same value for this command."
        )
    return given


@asynccontextmanager
async def opened(found: Attachment, clock: Clock | None = None) -> AsyncIterator[Storage]:
    """The storage, open inside the `with` block. Raises FlowError START_FAILED when the database is away."""
    storage = await open_storage(found.storage, clock or SystemClock())
    try:
        yield storage
    finally:
        await storage.close()
