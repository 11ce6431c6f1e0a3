"""The Socket.IO engine: `port.Engine`, mounted on an aiohttp application.

Use: `engine = SocketEngine(application, limits, clock); engine.attach(app)`, within the event loop that serves `app`.
It owns every socket, their timers and their admissions; `close` ends them all, and the application's shutdown calls it.
"""

import asyncio
import contextlib
from collections.abc import Iterable
from typing import Any, Final, cast

from aiohttp import web

from cluster.kernel.clock import Clock
from cluster.kernel.errors import SERVER_SHUTDOWN, ErrorKind
from realtime.engine.client import SocketIoClient
from realtime.engine.connection import NamespaceConnection, share_with
from realtime.engine.endpoint import Door, Endpoint, ForeignSession, OpenHandler
from realtime.engine.events import JSON, MSGPACK, OutgoingEvent
from realtime.engine.front import Front, FrontSite
from realtime.engine.limits import EngineLimits
from realtime.engine.packets import Codec
from realtime.engine.port import Connection, EncodedEvent, EngineApplication
from realtime.engine.runtime import Runtime
from realtime.engine.session import Session

JSON_PATH: Final = "/socket.io/"
MSGPACK_PATH: Final = "/socket.io-msgpack/"

_CLOSE_STEP_S: Final = 0.05
_CLOSES_PER_TURN: Final = 500


class SocketEngine:
    """One per event loop.

    `session_prefix` begins every id of this engine. `foreign_session(sid, request, headers)` is asked about a session
    id that begins otherwise; it returns the response of whoever owns it, or None when nobody does. `door` is asked
    before a session is opened; without one everybody comes in.
    """

    def __init__(
        self,
        application: EngineApplication,
        limits: EngineLimits,
        clock: Clock,
        *,
        session_prefix: str = "",
        foreign_session: ForeignSession | None = None,
        door: Door | None = None,
    ) -> None:
        self._application = application
        self._foreign_session = foreign_session
        self._door = door
        self._endpoints: dict[str, Endpoint] = {}
        self.runtime = Runtime(limits, clock, session_prefix)

    def attach(self, app: web.Application) -> None:
        """Serve both parsers' paths, and close when the application shuts down."""
        for path, codec in ((JSON_PATH, JSON), (MSGPACK_PATH, MSGPACK)):
            self.attach_handler(app, path, self._socket_io(codec))
        app.on_shutdown.append(self._shut_down)

    def attach_handler(self, app: web.Application, path: str, open_handler: OpenHandler) -> None:
        """Serve bare Engine.IO at `path`, its messages going to a handler of the caller's."""
        endpoint = Endpoint(self.runtime, open_handler, self._foreign_session, self._door)
        self._endpoints[path] = endpoint
        app.router.add_route("*", path, endpoint.handle)

    def site(
        self, runner: web.AppRunner, host: str, port: int, *, backlog: int = 128, reuse_port: bool | None = None
    ) -> web.BaseSite:
        """A port of a runner that has been set up with the application. Websockets that are opened there need no HTTP
        server; all else is the runner's."""
        assert runner.server is not None, "the runner must be set up"
        front = Front(self.runtime, self._endpoints, runner.server)
        return FrontSite(runner, front, host, port, backlog=backlog, reuse_port=reuse_port)

    def _socket_io(self, codec: Codec) -> OpenHandler:
        def open_handler(session: Session) -> SocketIoClient:
            return SocketIoClient(self.runtime, self._application, codec, session)

        return open_handler

    def encode(self, namespace: str, name: str, *args: Any) -> EncodedEvent:
        """Raises TypeError for arguments that have no form in JSON. They must not be changed afterwards."""
        return OutgoingEvent(namespace, name, args)

    def broadcast(self, connections: Iterable[Connection], event: EncodedEvent) -> None:
        assert isinstance(event, OutgoingEvent), "an event of another engine"
        share_with(cast("Iterable[NamespaceConnection]", connections), event)

    @property
    def load(self) -> float:
        """Sockets, as a share of what may be."""
        return len(self.runtime.sessions) / self.runtime.limits.max_sockets

    def statistics(self) -> dict[str, float]:
        runtime = self.runtime
        transports = [session.transport for session in runtime.sessions.values()]
        return {
            **runtime.counters.report(),
            "sockets": len(transports),
            "sockets_polling": sum(transport.name == "polling" for transport in transports),
            "bytes_unsent": sum(transport.unsent_bytes() for transport in transports),
            "sockets_lingering": len(runtime.lingering),
            "flushes_waiting": len(runtime.flusher),
            "connections_arriving": len(runtime.arriving),
            "pieces_waiting": len(runtime.reading),
            "newcomers_waiting": len(runtime.pacer) + len(runtime.admissions),
            "endings_waiting": len(runtime.endings),
            "timers": len(runtime.wheel),
        }

    def refuse_new(self) -> None:
        self.runtime.draining = True

    async def close(self, kind: ErrorKind, *, spread_s: float = 0.0, within_s: float | None = None) -> None:
        runtime = self.runtime
        self.refuse_new()
        sessions = list(runtime.sessions.values())
        steps = max(1, round(spread_s / _CLOSE_STEP_S))
        per_step = min(_CLOSES_PER_TURN, -(-len(sessions) // steps)) or 1
        pause = spread_s * per_step / len(sessions) if sessions else 0.0
        for start in range(0, len(sessions), per_step):
            for session in sessions[start : start + per_step]:
                session.close(kind)
            await asyncio.sleep(pause)
        await self._ended(runtime.limits.close_timeout_s if within_s is None else within_s)
        await runtime.tasks.stop()
        runtime.wheel.stop()

    async def _ended(self, within_s: float) -> None:
        """Wait until every socket has taken its close or the time to do so is over."""
        runtime = self.runtime
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                await runtime.empty.wait()
        for session in list(runtime.sessions.values()):
            session.transport.abort()
        for waiting in (*runtime.lingering, *runtime.arriving):
            waiting.abort()
        await asyncio.sleep(0)
        while len(runtime.endings):  # noqa: ASYNC110 - a turn for each few, and they are the last
            await asyncio.sleep(0)

    async def _shut_down(self, app: web.Application) -> None:
        await self.close(SERVER_SHUTDOWN)


__all__ = ["JSON_PATH", "MSGPACK_PATH", "NamespaceConnection", "SocketEngine"]
