"""The control socket: answers, errors and silence."""

import asyncio
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from cluster.kernel.errors import INVALID_REQUEST, NOT_RUNNING, UNAVAILABLE, FlowError
from cluster.run.control import MAX_REQUEST_BYTES, ControlServer, Tell, ask


@pytest.fixture
async def socket_path() -> AsyncIterator[Path]:
    async def echo(request: dict[str, Any], tell: Tell) -> dict[str, Any]:
        for text in request.get("steps", ()):
            tell(text)
        return {"heard": request}

    async def fail(request: dict[str, Any], tell: Tell) -> None:
        raise FlowError(UNAVAILABLE, "Not now.")

    with tempfile.TemporaryDirectory(prefix="flow-", dir="/tmp") as name:
        server = ControlServer(Path(name) / "control.sock", {"echo": echo, "fail": fail})
        await server.start()
        yield Path(name) / "control.sock"
        await server.stop()
        assert not (Path(name) / "control.sock").exists()


async def asked(path: Path, op: str, **arguments: Any) -> Any:
    return await asyncio.to_thread(ask, path, op, 5, **arguments)


async def test_progress_comes_before_the_answer(socket_path: Path) -> None:
    heard: list[str] = []
    answer = await asked(socket_path, "echo", on_progress=heard.append, steps=["one", "two"])
    assert heard == ["one", "two"]
    assert answer["heard"]["steps"] == heard


async def test_an_operation_gets_its_arguments_and_answers(socket_path: Path) -> None:
    assert await asked(socket_path, "echo", deep={"a": [1]}) == {"heard": {"op": "echo", "deep": {"a": [1]}}}


async def test_an_error_arrives_as_itself(socket_path: Path) -> None:
    with pytest.raises(FlowError, match="Not now") as caught:
        await asked(socket_path, "fail")
    assert caught.value.kind is UNAVAILABLE


@pytest.mark.parametrize("line", [b"{broken\n", b"[1]\n", b'"text"\n', b'{"op": "nothing"}\n', b"\xff\xfe\n"])
async def test_nonsense_is_answered_and_the_server_goes_on(socket_path: Path, line: bytes) -> None:
    reader, writer = await asyncio.open_unix_connection(str(socket_path))
    writer.write(line)
    assert INVALID_REQUEST.code.encode() in await reader.readline()
    writer.close()
    assert await asked(socket_path, "echo")


async def test_a_request_over_the_limit_is_cut_off(socket_path: Path) -> None:
    reader, writer = await asyncio.open_unix_connection(str(socket_path))
    writer.write(b"x" * (2 * MAX_REQUEST_BYTES))
    assert await reader.readline() == b""
    writer.close()
    assert await asked(socket_path, "echo")


def test_nobody_there_is_not_running(tmp_path: Path) -> None:
    with pytest.raises(FlowError) as caught:
        ask(tmp_path / "nothing", "status")
    assert caught.value.kind is NOT_RUNNING
