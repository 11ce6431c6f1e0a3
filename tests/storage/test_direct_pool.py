"""Direct connections to a server that does what no server should: each ends in one of three errors, and in no leak."""

import asyncio
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import bson
import pytest
from bson.codec_options import CodecOptions
from pymongo.errors import AutoReconnect, NetworkTimeout, NotPrimaryError, OperationFailure

from storage.direct.answers import check
from storage.direct.connection import Address
from storage.direct.login import Login
from storage.direct.pool import DirectPool
from storage.direct.scram import Salted

CODEC: CodecOptions[dict[str, Any]] = CodecOptions(tz_aware=True)
PING = {"ping": 1, "$db": "admin"}

Respond = Callable[[int, dict[str, Any], asyncio.StreamWriter], Awaitable[None]]


def reply(answers: int, body: dict[str, Any]) -> bytes:
    encoded = bson.encode(body)
    return struct.pack("<iiiiIB", 21 + len(encoded), 1, answers, 2013, 0, 0) + encoded


class FalseServer:
    """Greets as a primary and answers everything else as told; then it is a good server."""

    def __init__(self, misbehave: Respond | None = None, *, is_primary: bool = True) -> None:
        self._misbehave = misbehave
        self._is_primary = is_primary
        self.opened = 0
        self.open = 0
        self.all_closed = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.opened += 1
        self.open += 1
        try:
            while True:
                length, request = struct.unpack("<ii", await reader.readexactly(8))
                command = bson.decode((await reader.readexactly(length - 8))[13:])
                await self._answer(request, command, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            writer.close()
            self.open -= 1
            if not self.open:
                self.all_closed.set()

    async def _answer(self, request: int, command: dict[str, Any], writer: asyncio.StreamWriter) -> None:
        if "hello" in command:
            writer.write(reply(request, {"ok": 1, "isWritablePrimary": self._is_primary}))
        elif self._misbehave is not None:
            misbehave, self._misbehave = self._misbehave, None
            await misbehave(request, command, writer)
        else:
            writer.write(reply(request, {"ok": 1, "command": command, "payload": b""}))


@asynccontextmanager
async def pool_of(
    server: FalseServer, timeout_ms: int = 5_000, login: Login | None = None
) -> AsyncIterator[DirectPool]:
    listening = await asyncio.start_server(server.serve, "127.0.0.1")
    address: Address = listening.sockets[0].getsockname()
    pool = DirectPool(lambda: address, CODEC, None, login, timeout_ms)
    try:
        yield pool
    finally:
        pool.close()
        if server.open:
            await server.all_closed.wait()
        listening.close()
        await listening.wait_closed()


async def hang_up(_request: int, _command: dict[str, Any], writer: asyncio.StreamWriter) -> None:
    writer.close()


async def half_an_answer(request: int, _command: dict[str, Any], writer: asyncio.StreamWriter) -> None:
    writer.write(reply(request, {"ok": 1, "text": "x" * 100})[:50])
    writer.close()


async def noise(_request: int, _command: dict[str, Any], writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")


async def answer_to_another(request: int, _command: dict[str, Any], writer: asyncio.StreamWriter) -> None:
    writer.write(reply(request + 1, {"ok": 1}))


async def two_answers(request: int, _command: dict[str, Any], writer: asyncio.StreamWriter) -> None:
    writer.write(reply(request, {"ok": 1}) + reply(request, {"ok": 1}))


async def an_endless_one(request: int, _command: dict[str, Any], writer: asyncio.StreamWriter) -> None:
    writer.write(struct.pack("<iiii", 2**31 - 1, 1, request, 2013) + b"\0" * 1_000)


async def no_document(request: int, _command: dict[str, Any], writer: asyncio.StreamWriter) -> None:
    writer.write(struct.pack("<iiiiIB", 25, 1, request, 2013, 0, 0) + b"\xff" * 4)


@pytest.mark.parametrize("misbehave", [hang_up, half_an_answer, noise, answer_to_another, an_endless_one, no_document])
async def test_a_broken_answer_ends_its_connection_and_no_other_command(misbehave: Respond) -> None:
    server = FalseServer(misbehave)
    async with pool_of(server) as pool:
        with pytest.raises(AutoReconnect):
            await pool.ask(check, PING)
        assert (await pool.ask(check, PING))["ok"] == 1
        assert server.opened == 2
        assert pool.statistics() == {"direct_idle": 1, "direct_opened": 2, "direct_lost": 1}


async def test_a_warm_pool_has_its_connections_before_the_crowd() -> None:
    server = FalseServer()
    async with pool_of(server) as pool:
        await pool.warm(5)
        assert (server.opened, pool.statistics()["direct_idle"]) == (5, 5)
        await asyncio.gather(*(pool.ask(check, PING) for _ in range(5)))
        assert server.opened == 5


async def test_an_answer_too_many_is_nobodys() -> None:
    server = FalseServer(two_answers)
    async with pool_of(server) as pool:
        await pool.ask(check, PING)
        for number in range(3):
            try:
                found = await pool.ask(check, {"echo": number, "$db": "admin"})
            except AutoReconnect:
                continue
            assert found["command"]["echo"] == number


async def test_a_command_ends_in_its_time() -> None:
    async def say_nothing(_request: int, _command: dict[str, Any], _writer: asyncio.StreamWriter) -> None:
        return None

    server = FalseServer(say_nothing)
    async with pool_of(server, timeout_ms=50) as pool:
        with pytest.raises(NetworkTimeout):
            await pool.ask(check, PING)
    assert server.open == 0


async def test_a_primary_that_steps_down_is_asked_nothing_more() -> None:
    async def step_down(request: int, _command: dict[str, Any], writer: asyncio.StreamWriter) -> None:
        writer.write(reply(request, {"ok": 0, "code": 10107, "errmsg": "not primary"}))

    server = FalseServer(step_down)
    async with pool_of(server) as pool:
        with pytest.raises(NotPrimaryError):
            await pool.ask(check, PING)
        assert pool.statistics()["direct_idle"] == 0
        await pool.ask(check, PING)
        assert server.opened == 2


async def test_a_server_that_is_no_primary_is_not_used() -> None:
    server = FalseServer(is_primary=False)
    async with pool_of(server) as pool:
        with pytest.raises(NotPrimaryError):
            await pool.ask(check, PING)
    assert (server.opened, server.open) == (1, 0)


async def test_a_login_that_is_refused_leaves_nothing_open() -> None:
    async def refuse(request: int, command: dict[str, Any], writer: asyncio.StreamWriter) -> None:
        assert command["saslStart"] == 1
        writer.write(reply(request, {"ok": 0, "code": 18, "errmsg": "Authentication failed."}))

    server = FalseServer(refuse)
    async with pool_of(server, login=Login("flow", "admin", Salted("wrong"))) as pool:
        with pytest.raises(OperationFailure) as caught:
            await pool.ask(check, PING)
        assert caught.value.code == 18
    assert (server.opened, server.open) == (1, 0)


async def test_a_server_that_does_not_know_the_password_gets_no_command() -> None:
    async def pretend(request: int, command: dict[str, Any], writer: asyncio.StreamWriter) -> None:
        nonce = command["payload"].decode().rpartition("r=")[2]
        payload = f"r={nonce}x,s=c2FsdA==,i=4096".encode()
        writer.write(reply(request, {"ok": 1, "conversationId": 1, "done": False, "payload": payload}))

    server = FalseServer(pretend)
    async with pool_of(server, login=Login("flow", "admin", Salted("right"))) as pool:
        with pytest.raises(OperationFailure):
            await pool.ask(check, PING)
    assert (server.opened, server.open) == (1, 0)


async def test_nobody_at_the_address() -> None:
    pool = DirectPool(lambda: ("127.0.0.1", 1), CODEC, None, None, 5_000)
    with pytest.raises(AutoReconnect):
        await pool.ask(check, PING)
    unknown = DirectPool(lambda: None, CODEC, None, None, 5_000)
    assert not unknown.is_usable
    with pytest.raises(AutoReconnect):
        await unknown.ask(check, PING)


async def test_a_command_that_cannot_be_written_harms_nothing() -> None:
    server = FalseServer()
    async with pool_of(server) as pool:
        with pytest.raises(bson.errors.InvalidDocument):
            await pool.ask(check, {"value": object()})
        await pool.ask(check, PING)
        assert server.opened == 1
