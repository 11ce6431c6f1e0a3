"""The processes that hold the phones: started, listened to, told to be quiet, told to stop, and ended."""

import asyncio
import os
import shutil
import signal
import sys
from pathlib import Path
from typing import Any

import msgspec

from tests.chaos.options import Options, Person, Task

ROOT = Path(__file__).parents[2]
_SCRIPT = ROOT / "tests" / "node" / "phones.mjs"
_PHONES_A_PROCESS = 8
_STOP_S = 10.0
_LINE_BYTES = 1024 * 1024


class PhoneProcess:
    """One process; `report` is the last it said of itself."""

    def __init__(self, command: list[str], log: Path) -> None:
        self._command = command
        self._log = log
        self._process: asyncio.subprocess.Process | None = None
        self._listening: asyncio.Task[None] | None = None
        self.report: dict[str, Any] = {}

    async def start(self) -> None:
        with self._log.open("wb") as log:
            self._process = await asyncio.create_subprocess_exec(
                *self._command,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                cwd=ROOT,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
                limit=_LINE_BYTES,
            )
        self._listening = asyncio.create_task(self._listen())

    async def _listen(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            self.report = msgspec.json.decode(line)

    def tell(self, word: str) -> None:
        """Raises RuntimeError when the process has died, with the end of its log."""
        process = self._process
        assert process is not None
        assert process.stdin is not None
        if process.returncode is not None:
            raise RuntimeError(f"clients ended with {process.returncode}: {self._log.read_text()[-3000:]}")
        process.stdin.write(word.encode() + b"\n")

    def check(self) -> None:
        """Raises RuntimeError when the process has died."""
        process = self._process
        if process is not None and process.returncode is not None:
            raise RuntimeError(f"clients ended with {process.returncode}: {self._log.read_text()[-3000:]}")

    async def stop(self) -> None:
        process = self._process
        if process is None:
            return
        if process.returncode is None:
            self.tell("stop")
            try:
                await asyncio.wait_for(process.wait(), _STOP_S)
            except TimeoutError:
                process.send_signal(signal.SIGKILL)
                await process.wait()
        if self._listening is not None:
            await self._listening


def processes(url: str, options: Options, people: tuple[Person, ...], directory: Path) -> list[PhoneProcess]:
    """Python phones in a few processes, and those with the official JavaScript client in one of their own."""
    pause = len(people) / options.rate
    python, javascript = people[: options.phones], people[options.phones :]
    found = []
    for number, start in enumerate(range(0, len(python), _PHONES_A_PROCESS)):
        path = directory / f"phones-{number}.json"
        task = Task(url=url, seed=options.seed, pause=pause, people=python[start : start + _PHONES_A_PROCESS])
        path.write_bytes(msgspec.json.encode(task))
        command = [sys.executable, "-m", "tests.chaos.phones", str(path)]
        found.append(PhoneProcess(command, directory / f"phones-{number}.log"))
    node = shutil.which("node")
    if javascript and node is not None:
        path = directory / "phones-js.json"
        path.write_bytes(msgspec.json.encode(Task(url=url, seed=options.seed, pause=pause, people=javascript)))
        found.append(PhoneProcess([node, str(_SCRIPT), str(path)], directory / "phones-js.log"))
    return found


def javascript_is_there() -> bool:
    """Whether Node and the client library are installed (`make node`)."""
    return shutil.which("node") is not None and (_SCRIPT.parent / "node_modules" / "socket.io-client").is_dir()
