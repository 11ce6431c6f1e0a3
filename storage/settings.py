"""What storage must be told. Built by whoever composes a process; validated there; every number carries its unit."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class StorageSettings:
    """`uri` and `redis_url` may hold passwords: they are left out of `repr` and must not be logged.

    `redis_url` None means that there is no Redis: the cache then lives in process memory alone, for `lonely_ttl_s`.
    """

    uri: str
    database: str = "flow"
    redis_url: str | None = None

    pool_size: int = 32
    """Connections to MongoDB of one process, and the threads that wait for them."""
    most_waiting: int = 5_000
    """Operations that may wait for one of those connections; more are refused as overload."""
    server_selection_timeout_ms: int = 3_000
    """How long the first contact and a `ping` may take."""
    operation_timeout_ms: int = 5_000
    """How long one operation may take, its retry included; after it the outcome is unknown."""
    index_timeout_ms: int = 120_000
    """How long the building of missing indexes may take at start."""

    redis_pool_size: int = 16
    redis_timeout_ms: int = 250
    cache_bytes: int = 64 * 1024 * 1024
    cache_ttl_s: float = 3_600.0
    lonely_ttl_s: float = 5.0
    """How long process memory may answer while Redis cannot tell it what other processes changed."""

    refresh_token_ttl_ms: int = 30 * 24 * 3_600_000
    refresh_grace_ms: int = 30_000

    def __repr__(self) -> str:
        return f"StorageSettings(database={self.database!r}, …)"
