"""python-socketio's own client against the engine: both transports, the upgrade, both parsers, acks, refusals."""

import asyncio
from typing import Any

import pytest
import socketio

from cluster.kernel.errors import FORBIDDEN, SERVER_SHUTDOWN, SESSION_REVOKED, FlowError
from tests.engine.harness import PATIENCE_S, Served, serve

_PAYLOAD = ["text", 1, {"nested": [True, None]}, b"\x00\xff"]


class Client:
    def __init__(self, *, serializer: str = "default", reconnects: bool = False) -> None:
        self.sio = socketio.AsyncClient(
            serializer=serializer, reconnection=reconnects, reconnection_delay=0.05, randomization_factor=0
        )
        self.received: asyncio.Queue[tuple[str, tuple[Any, ...]]] = asyncio.Queue()
        self.connects: asyncio.Queue[None] = asyncio.Queue()
        self.disconnects: asyncio.Queue[str] = asyncio.Queue()
        for name in ("auth", "message-back", "n"):
            self.sio.on(name, self._keep(name))
            self.sio.on(name, self._keep(name), namespace="/custom")
        self.sio.on("connect", lambda: self.connects.put_nowait(None))
        self.sio.on("disconnect", self.disconnects.put_nowait)

    def _keep(self, name: str) -> Any:
        def keep(*args: Any) -> None:
            self.received.put_nowait((name, args))

        return keep

    async def connect(self, served: Served, transports: list[str], path: str = "socket.io", **options: Any) -> None:
        await self.sio.connect(served.url, transports=transports, socketio_path=path, **options)

    async def next(self) -> tuple[str, tuple[Any, ...]]:
        async with asyncio.timeout(PATIENCE_S):
            return await self.received.get()


@pytest.mark.parametrize("transports", [["websocket"], ["polling"], ["polling", "websocket"]], ids="+".join)
@pytest.mark.parametrize(("serializer", "path"), [("default", "socket.io"), ("msgpack", "socket.io-msgpack")])
async def test_events_and_acks_both_ways(transports: list[str], serializer: str, path: str) -> None:
    async with serve() as served:
        client = Client(serializer=serializer)
        await client.connect(served, transports, path, auth={"token": "t"}, namespaces=["/", "/custom"])
        greetings = [await client.next(), await client.next()]
        assert greetings == [("auth", ({"token": "t"},))] * 2
        assert client.sio.transport() == transports[-1]
        await client.sio.emit("message", tuple(_PAYLOAD))
        assert await client.next() == ("message-back", tuple(_PAYLOAD))
        assert await client.sio.call("message-with-ack", tuple(_PAYLOAD), namespace="/custom") == tuple(_PAYLOAD)
        connection = await served.application.connections.get()
        for number in range(100):
            connection.emit("n", number)
        assert [await client.next() for _ in range(100)] == [("n", (number,)) for number in range(100)]
        await client.sio.disconnect()
        ended = [await served.application.ended.get() for _ in range(2)]
        assert {reason for _, reason in ended} <= {"client_disconnect", "transport_close"}
        await served.is_empty()


async def test_a_refusal_reaches_the_client() -> None:
    async with serve() as served:
        served.application.refusal = FlowError(FORBIDDEN)
        client = Client()
        with pytest.raises(socketio.exceptions.ConnectionError):
            await client.connect(served, ["websocket"])
        await client.sio.disconnect()


async def test_come_back_brings_the_client_back() -> None:
    async with serve() as served:
        client = Client(reconnects=True)
        await client.connect(served, ["websocket"])
        await client.connects.get()
        (await served.application.connections.get()).close(SERVER_SHUTDOWN)
        async with asyncio.timeout(PATIENCE_S):
            await client.connects.get()
        await served.application.connections.get()
        await client.sio.disconnect()


async def test_do_not_come_back_keeps_the_client_away() -> None:
    async with serve() as served:
        client = Client(reconnects=True)
        await client.connect(served, ["websocket"], namespaces=["/"])
        connection = await served.application.connections.get()
        connection.close(SESSION_REVOKED)
        async with asyncio.timeout(PATIENCE_S):
            assert await client.disconnects.get() == client.sio.reason.SERVER_DISCONNECT
            await client.sio.wait()
        assert served.application.connections.empty()
        await client.sio.disconnect()
