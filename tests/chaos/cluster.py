"""A whole Flow for one run, in a directory of its own: started, asked, wounded, and ended with certainty."""

import asyncio
import ctypes
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import yaml

from cluster.kernel.errors import FlowError
from cluster.run.control import ask
from cluster.run.installation import Installation
from tests.chaos.options import Options

_START_S = 180.0
_STOP_S = 25.0
_DIE_WITH_PARENT = 1  # PR_SET_PDEATHSIG
_SETTINGS = {"flow": {"tokens": {"lifetime_s": 86_400}}}
_CONFIGURATION = Path(__file__).parents[2] / "ray_config.yaml"


def _models() -> dict[str, Any]:
    """What the configuration that comes with Flow says of models, which a file without it has none of."""
    found: dict[str, Any] = yaml.safe_load(_CONFIGURATION.read_text())
    return found


class Cluster:
    """`source` is the tree that runs: this one, or a copy with a mutation."""

    def __init__(self, directory: Path, options: Options, source: Path) -> None:
        self.directory = directory
        self.data = directory / "data"
        self._options = options
        self._source = source
        self._process: subprocess.Popen[bytes] | None = None
        self._control = Installation(self.data).control_socket
        self._summary: dict[str, Any] = {}
        self._environment = {**os.environ, "PYTHONPATH": str(source)}

    @property
    def url(self) -> str:
        return str(self._summary["url"])

    @property
    def mongodb(self) -> str:
        return str(self._summary["mongodb"])

    def _command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "cluster.run.cli.main", *arguments, "--data-dir", str(self.data)]

    async def start(self) -> None:
        """Raises RuntimeError with what it said when it does not start."""
        settings = self.directory / "settings.yaml"
        options = self._options
        settings.write_text(yaml.safe_dump({**(_models() if options.recommender else {}), **_SETTINGS}))
        command = self._command("up", "--json", "--port", "0", "--config", str(settings))
        command += ["--hosts", str(options.hosts), "--edges", str(options.edges)]
        command += [] if options.recommender else ["--no-recommender"]
        said = self.directory / "up.json"
        self._process = process = self._spawn(command, said)
        async with asyncio.timeout(_START_S):
            while not said.read_bytes().endswith(b"\n}\n"):
                if process.poll() is not None:
                    raise RuntimeError(f"Flow did not start: {(self.directory / 'up.log').read_text()[-2000:]}")
                await asyncio.sleep(0.1)
        self._summary = json.loads(said.read_bytes())
        if "url" not in self._summary:
            raise RuntimeError(f"Flow did not start: {self._summary}")
        if options.recommender:
            await self._until_recommended()

    async def _until_recommended(self) -> None:
        """The recommender comes after the edges, and there is nothing of it to hit before."""
        async with asyncio.timeout(_START_S):
            while True:
                applications = (await self.status())["recommender"]["applications"].values()
                if applications and all(one["status"] == "RUNNING" for one in applications):
                    return
                await asyncio.sleep(1.0)

    def _spawn(self, command: list[str], said: Path) -> "subprocess.Popen[bytes]":
        with said.open("wb") as out, (self.directory / "up.log").open("wb") as log:
            return subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=log,
                cwd=self._source,
                env=self._environment,
                preexec_fn=_end_with_parent,  # noqa: PLW1509 - a run that is killed must leave no server
            )

    async def status(self) -> dict[str, Any]:
        """What `flow status --json` prints. Raises FlowError when the supervisor does not answer."""
        answer: dict[str, Any] = await asyncio.to_thread(ask, self._control, "status")
        return answer

    async def members(self, kind: str) -> list[dict[str, Any]]:
        """Those of a kind that run, in the order of their names; empty while nobody answers."""
        try:
            found = (await self.status())["members"]
        except FlowError:
            return []
        members = [one for one in found if one["kind"] == kind and one.get("state") == "running" and "pid" in one]
        return sorted(members, key=lambda one: one["name"])

    async def command(self, *arguments: str, timeout_s: float = 120.0) -> tuple[int, str]:
        """A `flow` command as an operator types it: its exit code and what it printed."""
        process = await asyncio.create_subprocess_exec(
            *self._command(*arguments),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            cwd=self._source,
            env=self._environment,
        )
        try:
            async with asyncio.timeout(timeout_s):
                out, _ = await process.communicate()
        except TimeoutError:
            process.kill()
            await process.wait()
            return -1, "no answer in time"
        assert process.returncode is not None
        return process.returncode, out.decode(errors="replace")

    async def commands(self) -> frozenset[str]:
        """Which of `scale` and `drain` this Flow has."""
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "cluster.run.cli.main", "--help"),
            stdout=asyncio.subprocess.PIPE,
            cwd=self._source,
            env={**self._environment, "COLUMNS": "200", "TERM": "dumb"},
        )
        out, _ = await process.communicate()
        words = set(out.decode().split())
        return frozenset({"scale", "drain"} & words)

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    async def stop(self) -> None:
        """Ask, wait, and then end whatever is left of it by its process ids."""
        process = self._process
        if process is None:
            return
        family = _family(process.pid)
        for one in family:
            _signal(one, signal.SIGCONT)
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            await asyncio.to_thread(_wait, process, _STOP_S)
        for one in family:
            _signal(one, signal.SIGKILL)
        await asyncio.to_thread(process.wait)
        await asyncio.to_thread(psutil.wait_procs, family, 5)


def _end_with_parent() -> None:
    ctypes.CDLL(None).prctl(_DIE_WITH_PARENT, signal.SIGTERM)


def _family(pid: int) -> list[psutil.Process]:
    try:
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _signal(process: psutil.Process, number: signal.Signals) -> None:
    try:
        process.send_signal(number)  # psutil knows a process from another that got its number
    except psutil.NoSuchProcess:
        return


def _wait(process: "subprocess.Popen[bytes]", timeout_s: float) -> None:
    try:
        process.wait(timeout_s)
    except subprocess.TimeoutExpired:
        return
