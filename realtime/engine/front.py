"""What listens on the edge's ports: reads the first request of each connection, and opens websockets without HTTP.

Nearly every connection asks for a websocket at once, and for those an HTTP server is the dearest part of opening one.
So the head of the first request is read here. One that opens a session in the plain form becomes a websocket, in its
turn; every other, and whatever the endpoint would refuse, goes to the HTTP server with the bytes as they came, which
answers it by its own rules. It promises that a connection says what it wants within a time or is closed, that so many
may be on their way, and that none of them outlives the engine.
"""

import asyncio
import os
import socket
from collections.abc import Callable, Mapping
from typing import Final, cast

from aiohttp import web

from realtime.engine.endpoint import Endpoint
from realtime.engine.request_head import MAX_HEAD_BYTES, RequestHead, end_of_head, read_head
from realtime.engine.runtime import Runtime

_MAX_EARLY_BYTES: Final = 65_536
_ACCEPTS_A_TURN: Final = 8
"""uvloop accepts one connection a turn and listening socket, however many wait. So each socket is listened to by so
many servers: a crowd does not wait for as many turns as it has heads, and does not come in all at once either."""


class FirstRequest(asyncio.Protocol):
    """A connection until somebody serves it."""

    __slots__ = ("_data", "_end", "_front", "_head", "_is_held", "_searched", "_transport")

    def __init__(self, front: "Front") -> None:
        self._front = front
        self._data = b""
        self._end = 0
        self._head: RequestHead | None = None
        self._is_held = False
        self._searched = 0
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass
        if not self._front.arrive(self):
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        if self._transport is None or self._transport.is_closing():
            return
        self._data = self._data + data if self._data else data
        if self._head is not None or self._is_held:  # in line, and the client did not wait
            if len(self._data) > _MAX_EARLY_BYTES:
                self._transport.pause_reading()
        elif self._front.runtime.reading.may_serve():
            self._read()
        else:
            self._is_held = True
            self._front.runtime.reading.wait(self._read)

    def _read(self) -> None:
        self._is_held = False
        if self._transport is None or self._transport.is_closing():
            return
        searched, self._searched = self._searched, len(self._data)
        self._end = end_of_head(self._data, searched)
        if 0 < self._end <= MAX_HEAD_BYTES:
            self._head = read_head(self._data[: self._end])
            if self._head is not None and self._front.may_open(self._head):
                self._front.runtime.pacer.add(self._open)
                return
        elif len(self._data) <= MAX_HEAD_BYTES:
            return
        self._give_to_http()

    def _open(self) -> None:
        transport, head = self._transport, self._head
        if transport is None or transport.is_closing() or head is None:
            return
        if self._front.open(head, transport, self._data[self._end :]):
            self._leave()
        else:
            self._give_to_http()

    def _give_to_http(self) -> None:
        transport, data = self._transport, self._data
        assert transport is not None
        self._leave()
        http = self._front.http()
        transport.set_protocol(http)
        transport.resume_reading()
        http.connection_made(transport)
        http.data_received(data)

    def _leave(self) -> None:
        self._transport = None
        self._data = b""
        self._front.depart(self)

    def out_of_time(self) -> None:
        self.abort()

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._leave()


class Front:
    """`http` makes the protocol of a connection that is not for `endpoints`, which are by path."""

    def __init__(
        self, runtime: Runtime, endpoints: Mapping[str, Endpoint], http: Callable[[], asyncio.Protocol]
    ) -> None:
        self.runtime = runtime
        self.http = http
        self._endpoints = endpoints

    def __call__(self) -> FirstRequest:
        """A protocol factory."""
        return FirstRequest(self)

    def arrive(self, connection: FirstRequest) -> bool:
        """False when too many are on their way."""
        runtime = self.runtime
        if len(runtime.arriving) >= runtime.limits.max_sockets:
            runtime.counters.requests_refused += 1
            return False
        runtime.arriving.begin(connection)
        return True

    def depart(self, connection: FirstRequest) -> None:
        self.runtime.arriving.end(connection)

    def may_open(self, head: RequestHead) -> bool:
        """Whether to put it in line; whether it may come in is asked when its turn has come.

        All else goes on at once: a poll must not be overtaken by the POST that its client sent after it.
        """
        endpoint = self._endpoints.get(head.path)
        return endpoint is not None and endpoint.opens_websocket(head)

    def open(self, head: RequestHead, transport: asyncio.Transport, early: bytes) -> bool:
        return self._endpoints[head.path].open_websocket(head, transport, early)


class FrontSite(web.BaseSite):
    """A port of the runner's, behind a front. Made by `SocketEngine.site`."""

    def __init__(
        self,
        runner: web.AppRunner,
        front: Front,
        host: str,
        port: int,
        *,
        backlog: int = 128,
        reuse_port: bool | None = None,
    ) -> None:
        super().__init__(runner, backlog=backlog)
        self._front = front
        self._host = host
        self._port = port
        self._reuse_port = reuse_port
        self._doubles: list[asyncio.Server] = []

    @property
    def name(self) -> str:
        return f"http://{self._host}:{self._port}"

    async def start(self) -> None:
        """Raises OSError."""
        await super().start()
        loop = asyncio.get_running_loop()
        self._server = server = await loop.create_server(
            self._front, self._host, self._port, backlog=self._backlog, reuse_port=self._reuse_port
        )
        for listening in tuple(server.sockets):
            for _ in range(_ACCEPTS_A_TURN - 1):
                again = socket.socket(fileno=os.dup(listening.fileno()))
                self._doubles.append(await loop.create_server(self._front, sock=again, backlog=self._backlog))

    async def stop(self) -> None:
        doubles, self._doubles = self._doubles, []
        for double in doubles:
            double.close()
        await super().stop()
