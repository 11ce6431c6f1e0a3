"""The fork server as the supervisor sees it: a child that is started, watched and started again when it ends."""

import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path


class ForkServer:
    """A `Program` for `EmbeddedServer`. It serves the workers of one Ray node and one job, whose numbers Ray's library
    reads once, when it is loaded, and so before the fork; workers of other jobs start without it."""

    name = "Fork server"

    def __init__(self, address: str, directory: Path, raylet: int, job: str) -> None:
        self._socket = f"{address}.{job}"
        self._directory = directory
        self._raylet = raylet
        self._job = job

    @property
    def directory(self) -> Path:
        """Where it runs; it keeps nothing."""
        return self._directory

    @property
    def url(self) -> str:
        return f"unix://{self._socket}"

    def command(self) -> Sequence[str]:
        return [sys.executable, "-m", "cluster.run.fork_server.program", self._socket, str(self._raylet), self._job]

    async def answers(self) -> bool:
        """Whether it listens. Who asks it for a worker waits until its imports are done."""
        try:
            _, writer = await asyncio.open_unix_connection(self._socket)
        except OSError:
            return False
        writer.close()
        return True
