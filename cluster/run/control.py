"""The supervisor's control socket: how `flow status` and `flow down` reach the Flow that runs.

A Unix socket inside the runtime directory, which only its owner may enter. One request is one line of JSON with an
`op`; the answer is one line: {"ok": true, "result"} or {"ok": false, "error"} with the error table's form. Lines of
{"progress": text} may come before it. Asking is bounded in time here, what an operation takes by the operation.
"""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import orjson

from cluster.kernel.errors import INVALID_REQUEST, NOT_RUNNING, FlowError

MAX_REQUEST_BYTES = 64 * 1024
MAX_ANSWER_BYTES = 16 * 1024 * 1024
_REQUEST_TIMEOUT_S = 10.0

Tell = Callable[[str], None]
"""Says to whoever asked how far it is."""

Operation = Callable[[dict[str, Any], Tell], Awaitable[Any]]


class ControlServer:
    """Serves `operations` by name until closed."""

    def __init__(self, path: Path, operations: Mapping[str, Operation]) -> None:
        self._path = path
        self._operations = operations
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        self._path.unlink(missing_ok=True)
        self._server = await asyncio.start_unix_server(self._serve, str(self._path), limit=MAX_REQUEST_BYTES)

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()
        self._path.unlink(missing_ok=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(_REQUEST_TIMEOUT_S):
                line = await reader.readline()
            answer = await self._answer(line, lambda text: writer.write(orjson.dumps({"progress": text}) + b"\n"))
            writer.write(orjson.dumps(answer, default=str) + b"\n")
            async with asyncio.timeout(_REQUEST_TIMEOUT_S):
                await writer.drain()
        except (OSError, ValueError, TimeoutError):
            pass  # the asker has gone or never asked; there is nobody to tell
        finally:
            writer.close()

    async def _answer(self, line: bytes, tell: Tell) -> dict[str, Any]:
        try:
            request = orjson.loads(line)
            operation = self._operations.get(request.get("op"))
            if operation is None:
                raise FlowError(INVALID_REQUEST, f"There is no operation {request.get('op')!r}.")
            return {"ok": True, "result": await operation(request, tell)}
        except (orjson.JSONDecodeError, AttributeError):
            return {"ok": False, "error": FlowError(INVALID_REQUEST).to_wire()}
        except FlowError as error:
            return {"ok": False, "error": error.to_wire()}


def ask(
    path: Path,
    op: str,
    timeout_s: float = _REQUEST_TIMEOUT_S,
    on_progress: Tell = lambda text: None,
    **arguments: Any,
) -> Any:
    """Ask the supervisor behind `path` and wait, at most `timeout_s` for each line. Raises FlowError: its own, or
    NOT_RUNNING when nobody answers."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(timeout_s)
            connection.connect(str(path))
            connection.sendall(orjson.dumps({"op": op, **arguments}) + b"\n")
            with connection.makefile("rb") as stream:
                while "progress" in (answer := orjson.loads(stream.readline(MAX_ANSWER_BYTES))):
                    on_progress(answer["progress"])
    except (OSError, orjson.JSONDecodeError) as error:
        raise FlowError(NOT_RUNNING, "The Flow that runs does not answer.") from error
    if not answer["ok"]:
        raise FlowError.from_wire(answer["error"])
    return answer["result"]
