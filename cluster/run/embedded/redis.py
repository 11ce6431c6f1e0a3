"""The embedded Redis: one redis-server, on a Unix socket only, with a bound on its memory.

Redis holds nothing that must survive: it is a cache and carries invalidations. It keeps a snapshot all the same, so
that a restart does not begin with an empty cache.
"""

import asyncio
from collections.abc import Sequence
from pathlib import Path

from cluster.run.embedded import binaries

_ANSWER_TIMEOUT_S = 2.0


class RedisServer:
    """A `Program` for `EmbeddedServer`."""

    name = "Redis"

    def __init__(self, data: Path, runtime: Path, log: Path, max_memory_mb: int) -> None:
        self._directory = data / "redis"
        self._socket = runtime / "redis.sock"
        self._log = log
        self._max_memory_mb = max_memory_mb

    @property
    def directory(self) -> Path:
        return self._directory

    @property
    def url(self) -> str:
        return f"unix://{self._socket}"

    def command(self) -> Sequence[str]:
        return [
            str(binaries.find("redis-server")),
            *("--port", "0"),
            *("--unixsocket", str(self._socket)),
            *("--unixsocketperm", "600"),
            *("--dir", str(self._directory)),
            *("--save", "300 1"),
            *("--maxmemory", f"{self._max_memory_mb}mb"),
            *("--maxmemory-policy", "allkeys-lru"),
            *("--logfile", str(self._log)),
        ]

    async def answers(self) -> bool:
        try:
            async with asyncio.timeout(_ANSWER_TIMEOUT_S):
                reader, writer = await asyncio.open_unix_connection(str(self._socket))
                try:
                    writer.write(b"PING\r\n")
                    return await reader.readline() == b"+PONG\r\n"
                finally:
                    writer.close()
        except (OSError, TimeoutError):
            return False
