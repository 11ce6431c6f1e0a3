"""What the engine's tests stand on: a served engine, an application that records, and clients that speak raw bytes."""

import asyncio
import base64
import json
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from aiohttp import web

from cluster.kernel.clock import SystemClock
from cluster.kernel.errors import SERVER_SHUTDOWN, SESSION_REVOKED, FlowError
from realtime.engine.conformance import EchoMessages
from realtime.engine.endpoint import Door, ForeignSession
from realtime.engine.limits import EVERY_ORIGIN, EngineLimits
from realtime.engine.port import Ack, Connection, Handshake
from realtime.engine.server import SocketEngine

PATIENCE_S = 5.0
AT_ONCE_S = 1.0
"""Far below every timer that could also close a socket, far above what a busy machine needs; 0.2 s on an idle one."""


class RecordingApplication:
    """Echoes like the conformance server, and keeps what happened. `gate`, when set, holds admissions back."""

    def __init__(self) -> None:
        self.connections: asyncio.Queue[Connection] = asyncio.Queue()
        self.events: asyncio.Queue[tuple[str, list[Any]]] = asyncio.Queue()
        self.ended: asyncio.Queue[tuple[Connection, str]] = asyncio.Queue()
        self.asked: asyncio.Queue[Connection] = asyncio.Queue()
        self.handshakes: list[Handshake] = []
        self.gate: asyncio.Event | None = None
        self.refusal: FlowError | None = None

    def namespaces(self) -> frozenset[str]:
        return frozenset({"/", "/custom"})

    async def connect(self, connection: Connection, handshake: Handshake) -> None:
        self.handshakes.append(handshake)
        self.asked.put_nowait(connection)
        if self.gate is not None:
            await self.gate.wait()
        if self.refusal is not None:
            raise self.refusal
        connection.emit("auth", handshake.auth if handshake.auth is not None else {})
        self.connections.put_nowait(connection)

    def event(self, connection: Connection, name: str, args: list[Any], ack: Ack | None) -> None:
        self.events.put_nowait((name, args))
        if name == "message":
            connection.emit("message-back", *args)
        elif name == "message-with-ack" and ack is not None:
            ack(*args)
        elif name == "fail":
            raise RuntimeError("a mistake of the application")
        elif name == "close-shutdown":
            connection.close(SERVER_SHUTDOWN)
        elif name == "close-revoked":
            connection.close(SESSION_REVOKED)

    def disconnected(self, connection: Connection, reason: str) -> None:
        self.ended.put_nowait((connection, reason))


@dataclass(slots=True)
class Served:
    engine: SocketEngine
    application: RecordingApplication
    port: int
    http: aiohttp.ClientSession
    runner: web.AppRunner
    sockets: list["RawSocket"] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def websocket(self, path: str = "/socket.io/", query: str = "EIO=4&transport=websocket") -> "RawSocket":
        """An open websocket, its OPEN packet not yet read."""
        socket = await RawSocket.open(self.port, f"{path}?{query}")
        self.sockets.append(socket)
        return socket

    async def session(self, path: str = "/socket.io/") -> "RawSocket":
        """A websocket whose OPEN packet has been read."""
        socket = await self.websocket(path)
        assert (await socket.text()).startswith("0{")
        return socket

    async def client(self, path: str = "/socket.io/") -> "RawSocket":
        """A websocket connected to the main namespace, its `auth` event read."""
        socket = await self.session(path)
        socket.send("40")
        assert (await socket.text()).startswith('40{"sid":')
        assert await socket.text() == '42["auth",{}]'
        return socket

    def poller(self, path: str = "/socket.io/") -> "Poller":
        return Poller(self.http, self.url + path)

    async def is_empty(self) -> None:
        """Wait until the engine holds no socket."""
        async with asyncio.timeout(PATIENCE_S):
            await self.engine.runtime.empty.wait()


@asynccontextmanager
async def serve(
    limits: EngineLimits | None = None,
    *,
    session_prefix: str = "",
    foreign_session: ForeignSession | None = None,
    door: Door | None = None,
) -> AsyncIterator[Served]:
    app = web.Application()
    application = RecordingApplication()
    engine = SocketEngine(
        application,
        limits or EngineLimits(cors_allowed_origins=EVERY_ORIGIN),
        SystemClock(),
        session_prefix=session_prefix,
        foreign_session=foreign_session,
        door=door,
    )
    engine.attach(app)
    engine.attach_handler(app, "/engine.io/", EchoMessages)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = engine.site(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    async with aiohttp.ClientSession() as http:
        served = Served(engine, application, port, http, runner)
        try:
            yield served
        finally:
            for socket in served.sockets:
                socket.abort()
            await runner.cleanup()


async def eventually(condition: Callable[[], bool]) -> None:
    """Let the loop turn until `condition` holds."""
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0)


@dataclass(frozen=True, slots=True)
class Closed:
    """The close frame that a websocket client was sent."""

    code: int
    reason: str


class Dropped(Exception):
    """The connection ended without a close frame."""


class RawSocket:
    """A websocket client that can send anything, frames that no client may send included."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, head: str) -> None:
        self.reader = reader
        self.writer = writer
        self.head = head

    @classmethod
    async def open(cls, port: int, target: str, *, extra: str = "", after: bytes = b"") -> "RawSocket":
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        key = base64.b64encode(os.urandom(16)).decode()
        writer.write(
            f"GET {target} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n{extra}\r\n".encode()
            + after
        )
        async with asyncio.timeout(PATIENCE_S):
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
        return cls(reader, writer, head)

    @property
    def status(self) -> int:
        return int(self.head.split(" ", 2)[1])

    def send(self, data: str | bytes) -> None:
        first = 0x81 if isinstance(data, str) else 0x82
        self.send_frame(first, data.encode() if isinstance(data, str) else data)

    def send_frame(self, first: int, payload: bytes, *, masked: bool = True) -> None:
        self.writer.write(frame_bytes(first, payload, masked=masked))

    async def receive(self, patience_s: float = PATIENCE_S) -> str | bytes | Closed:
        """The next frame; raises Dropped when there is none any more."""
        async with asyncio.timeout(patience_s):
            try:
                first, second = await self.reader.readexactly(2)
                length = second & 0x7F
                if length >= 126:
                    length = int.from_bytes(await self.reader.readexactly(2 if length == 126 else 8), "big")
                payload = await self.reader.readexactly(length)
            except (asyncio.IncompleteReadError, ConnectionError) as error:
                raise Dropped from error
        assert not second & 0x80, "a server must not mask"
        if first == 0x88:
            return Closed(int.from_bytes(payload[:2], "big"), payload[2:].decode())
        return payload.decode() if first == 0x81 else payload

    async def text(self) -> str:
        """The next text message."""
        message = await self.receive()
        assert isinstance(message, str), message
        return message

    async def closed(self, patience_s: float = PATIENCE_S) -> Closed:
        """The close frame, whatever comes before it skipped, then the end of the connection from both sides."""
        async with asyncio.timeout(patience_s):
            while not isinstance(message := await self.receive(), Closed):
                pass
            assert await self.reader.read() == b""
        self.writer.close()
        return message

    def abort(self) -> None:
        self.writer.transport.abort()


def frame_bytes(first: int, payload: bytes, *, masked: bool = True) -> bytes:
    """A client's frame, with a mask that changes nothing."""
    bit = 0x80 if masked else 0
    length = len(payload)
    if length < 126:
        head = bytes([first, bit | length])
    elif length < 65536:
        head = bytes([first, bit | 126]) + length.to_bytes(2, "big")
    else:
        head = bytes([first, bit | 127]) + length.to_bytes(8, "big")
    return head + (b"\0\0\0\0" if masked else b"") + payload


class Poller:
    """A long-polling client."""

    def __init__(self, http: aiohttp.ClientSession, url: str) -> None:
        self._http = http
        self._url = url
        self.sid = ""

    @property
    def target(self) -> str:
        return f"{self._url}?EIO=4&transport=polling" + (f"&sid={self.sid}" if self.sid else "")

    async def open(self, mark: str = "") -> dict[str, Any]:
        status, body = await self.get(mark)
        assert status == 200
        assert body.startswith("0{")
        opening: dict[str, Any] = json.loads(body[1:])
        self.sid = opening["sid"]
        return opening

    async def get(self, mark: str = "") -> tuple[int, str]:
        target = f"{self.target}&t={mark}" if mark else self.target
        async with self._http.get(target, timeout=aiohttp.ClientTimeout(total=PATIENCE_S)) as response:
            return response.status, await response.text()

    async def post(self, body: str | bytes) -> tuple[int, str]:
        async with self._http.post(self.target, data=body) as response:
            return response.status, await response.text()

    async def connect(self) -> None:
        """Open and connect to the main namespace."""
        await self.open()
        assert await self.post("40") == (200, "ok")
        received = ""
        while "auth" not in received:
            received += (await self.get())[1]
