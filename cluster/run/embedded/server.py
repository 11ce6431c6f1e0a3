"""One embedded server: started, awaited until it answers, watched, restarted, stopped.

The supervisor owns one for MongoDB and one for Redis unless the environment names others, and one for the fork server
of a Ray of its own. A server that dies is started again with growing pauses; one that keeps dying is given up after its
limit, loudly. What a server is (its command, its readiness) comes from its `Program`; this file knows only processes.
"""

import asyncio
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from cluster.kernel.errors import START_FAILED, FlowError
from cluster.kernel.logs import rotate
from cluster.run.child_process import ChildProcess

_log = logging.getLogger("flow.embedded")

_FIRST_PAUSE_S = 0.1
_LONGEST_PAUSE_S = 5.0
_DOUBLINGS = 16
_POLL_S = 0.02
_HEALTHY_AFTER_S = 30.0
_LOG_LINES = 3


class Program(Protocol):
    """What an embedded server is."""

    name: str

    @property
    def url(self) -> str:
        """What clients connect to."""

    @property
    def directory(self) -> Path:
        """Where it keeps its data."""

    def command(self) -> Sequence[str]: ...

    async def answers(self) -> bool:
        """Whether it can be used now; never raises, never waits long."""


class EmbeddedServer:
    """A child process that runs a `Program`."""

    def __init__(self, program: Program, log: Path, *, ready_timeout_s: float, max_restarts_in_a_row: int) -> None:
        self.program = program
        self._log_path = log
        self._ready_timeout_s = ready_timeout_s
        self._max_restarts = max_restarts_in_a_row
        self._child: ChildProcess | None = None
        self._restarts = 0
        self._stopping = False

    def spawn(self) -> None:
        """Start the process without waiting for it; on the main thread only. Raises FlowError START_FAILED."""
        directory = self.program.directory
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            rotate(self._log_path)
            self._child = ChildProcess.start(self.program.name, self.program.command(), self._log_path, directory)
        except OSError as error:
            raise FlowError(START_FAILED, f"{self.program.name} cannot be started: {error}.") from error

    async def ready(self) -> None:
        """Wait until it answers. Raises FlowError START_FAILED when it ends or does not answer in time."""
        child = self._running()
        try:
            async with asyncio.timeout(self._ready_timeout_s):
                while not await self.program.answers():
                    if child.return_code is not None:
                        raise FlowError(
                            START_FAILED,
                            f"{self.program.name} ended with code {child.return_code}. {self._last_words()}",
                        )
                    await asyncio.sleep(_POLL_S)
        except TimeoutError:
            raise FlowError(
                START_FAILED,
                f"{self.program.name} did not answer within {self._ready_timeout_s:g} s. {self._last_words()}",
            ) from None

    async def watch(self) -> None:
        """Restart it whenever it ends, until `stop`. Raises FlowError START_FAILED when it keeps ending."""
        loop = asyncio.get_running_loop()
        in_a_row = 0
        while not self._stopping:
            up_since = loop.time()
            code = await self._running().wait()
            if self._stopping:
                return
            in_a_row = 1 if loop.time() - up_since > _HEALTHY_AFTER_S else in_a_row + 1
            if in_a_row > self._max_restarts:
                raise FlowError(
                    START_FAILED, f"{self.program.name} ended {in_a_row} times in a row. {self._last_words()}"
                )
            _log.error("%s ended with code %s; restart %d in a row", self.program.name, code, in_a_row)
            await asyncio.sleep(min(_FIRST_PAUSE_S * 2 ** min(in_a_row - 1, _DOUBLINGS), _LONGEST_PAUSE_S))
            if self._stopping:
                return
            self.spawn()
            self._restarts += 1

    async def stop(self, timeout_s: float) -> None:
        self._stopping = True
        if self._child is not None:
            await self._child.stop(timeout_s)

    def kill(self) -> None:
        """For a start that failed before there was a loop."""
        self._stopping = True
        if self._child is not None:
            self._child.kill()

    def statistics(self) -> dict[str, Any]:
        child = self._child
        alive = child is not None and child.return_code is None
        return {
            "pid": child.pid if child is not None else None,
            "alive": alive,
            "restarts": self._restarts,
            "data": str(self.program.directory),
        }

    def _running(self) -> ChildProcess:
        if self._child is None:
            raise RuntimeError(f"{self.program.name} was not started")
        return self._child

    def _last_words(self) -> str:
        try:
            lines = self._log_path.read_text(errors="replace").splitlines()[-_LOG_LINES:]
        except OSError:
            lines = []
        said = " | ".join(line[:200] for line in lines)
        return f"Its log is {self._log_path}{f'; it ends with: {said}' if said else ''}"
