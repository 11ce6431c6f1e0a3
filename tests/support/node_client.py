"""The official JavaScript client as a process that a test tells what to do: `tests/node/remote.mjs`."""

import asyncio
import json
import shutil
from itertools import count
from pathlib import Path
from typing import Any

import pytest

DIRECTORY = Path(__file__).parent.parent / "node"

needs_node = pytest.mark.skipif(
    shutil.which("node") is None or not (DIRECTORY / "node_modules" / "socket.io-client").is_dir(),
    reason="Node or the JavaScript clients are not installed: npm ci --prefix tests/node",
)

_PATIENCE_S = 20.0
_LINE_BYTES = 8 * 1024 * 1024


class NodeClient:
    """`said` is everything it reported, in order; `next` waits for the next report of a kind that was not taken yet."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.said: list[dict[str, Any]] = []
        self._process = process
        self._numbers = count(1)
        self._read: dict[str, int] = {}
        self._changed = asyncio.Condition()
        self._listening = asyncio.ensure_future(self._listen())

    @classmethod
    async def start(cls, url: str, namespace: str = "/chat", **options: Any) -> "NodeClient":
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(
            "node",
            "remote.mjs",
            url,
            namespace,
            json.dumps(options),
            cwd=DIRECTORY,
            stdin=pipe,
            stdout=pipe,
            limit=_LINE_BYTES,
        )
        return cls(process)

    async def _listen(self) -> None:
        assert self._process.stdout is not None
        while line := await self._process.stdout.readline():
            async with self._changed:
                self.said.append(json.loads(line))
                self._changed.notify_all()

    def events(self, name: str) -> list[Any]:
        """The first argument of each event of that name."""
        return [said["args"][0] for said in self.said if said["what"] == "event" and said["name"] == name]

    async def next(self, what: str) -> dict[str, Any]:
        """The next report of this kind: `connect`, `disconnect`, `refused`, `upgrade`, or the name of an event."""

        def reports() -> list[dict[str, Any]]:
            return [said for said in self.said if what in (said["what"], said.get("name"))]

        taken = self._read.get(what, 0)
        await self.until(lambda: len(reports()) > taken, what)
        self._read[what] = taken + 1
        return reports()[taken]

    async def until(self, condition: Any, what: str = "what was waited for") -> None:
        async with self._changed:
            try:
                async with asyncio.timeout(_PATIENCE_S):
                    await self._changed.wait_for(condition)
            except TimeoutError:
                raise AssertionError(f"no {what}; {self.said[-20:]}") from None

    async def tell(self, command: str, **rest: Any) -> Any:
        """Have it do something; what that gave."""
        assert self._process.stdin is not None
        number = next(self._numbers)
        self._process.stdin.write(json.dumps({"number": number, "command": command, **rest}).encode() + b"\n")
        await self._process.stdin.drain()

        def answers() -> list[dict[str, Any]]:
            return [said for said in self.said if said.get("number") == number]

        await self.until(answers, f"answer to {command}")
        return answers()[0]["value"]

    async def ask(self, name: str, payload: Any) -> dict[str, Any]:
        answer: dict[str, Any] = await self.tell("ask", name=name, payload=payload)
        return answer

    async def stop(self) -> None:
        """Kill it and wait until it is gone; a second time does nothing."""
        if self._process.returncode is None:
            self._process.kill()
        assert self._process.stdin is not None
        self._process.stdin.close()
        await self._process.wait()
        await self._listening


class NodeClients:
    """Those that one test starts; `stop` ends them, whatever the test came to."""

    def __init__(self) -> None:
        self._started: list[NodeClient] = []

    async def start(self, url: str, namespace: str = "/chat", **options: Any) -> NodeClient:
        self._started.append(await NodeClient.start(url, namespace, **options))
        return self._started[-1]

    async def stop(self) -> None:
        for client in self._started:
            await client.stop()
