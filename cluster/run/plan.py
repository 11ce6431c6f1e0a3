"""What is to run: the settings, the secrets and the addresses, settled before the first process starts.

`launch` makes it; the supervisor, the wiring and the recommender's stage read it. It holds no running thing.
"""

import os
import time
from dataclasses import dataclass, field, replace
from importlib import metadata
from typing import Any, Literal

from cluster.run.installation import Installation
from cluster.run.process import ProcessPlan
from cluster.run.secrets import Secrets
from cluster.run.settings import Configuration, Settings
from storage.settings import StorageSettings


@dataclass(frozen=True, slots=True)
class Plan:
    """`mongodb_uri` and `redis_url` are the ones to use, embedded or not; `port` is the public one that is held."""

    configuration: Configuration
    secrets: Secrets
    installation: Installation
    mongodb_uri: str
    redis_url: str
    port: int
    started_at: float = field(default_factory=time.time)

    @property
    def settings(self) -> Settings:
        return self.configuration.flow

    @property
    def url(self) -> str:
        host = self.settings.host
        shown = "127.0.0.1" if host in ("0.0.0.0", "::") else host  # noqa: S104 - compared, not bound
        return f"http://{f'[{shown}]' if ':' in shown else shown}:{self.port}"

    def process(self, kind: Literal["host", "edge"], number: int) -> ProcessPlan:
        return ProcessPlan(
            name=f"{kind}-process-{number}",
            kind=kind,
            settings=self.settings,
            secrets=self.secrets,
            storage=self.storage_settings(),
            models_directory=self.installation.models,
            logs_directory=self.installation.logs,
            port=self.port,
            link_host=self._link_host(),
        )

    def _link_host(self) -> str | None:
        """Loopback as long as nothing says that other machines take part."""
        alone = self.secrets.ray_address is None and self.settings.ray.node_ip_address is None
        return "127.0.0.1" if alone else None

    def counts(self) -> dict[Literal["host", "edge"], int]:
        """How many members of each kind to start with."""
        return {"host": self.settings.hosts, "edge": self.settings.edges}

    def storage_settings(self) -> StorageSettings:
        return replace(self.settings.storage, uri=self.mongodb_uri, redis_url=self.redis_url)

    def described(self) -> dict[str, Any]:
        """For the state file and for people: no secret, and no address that holds one."""
        embedded = self.secrets.mongodb_uri is None
        return {
            "version": metadata.version("flow-server"),
            "environment": self.settings.environment,
            "pid": os.getpid(),
            "started_at": self.started_at,
            "url": self.url,
            "host": self.settings.host,
            "port": self.port,
            "hosts": self.settings.hosts,
            "edges": self.settings.edges,
            "data": str(self.installation.data),
            "logs": str(self.installation.logs),
            "models": str(self.installation.models),
            "settings": None if self.configuration.path is None else str(self.configuration.path),
            "control": str(self.installation.control_socket),
            "mongodb": self.mongodb_uri if embedded else "MONGODB_URI",
            "redis": self.redis_url if self.secrets.redis_url is None else "REDIS_URL",
        }
