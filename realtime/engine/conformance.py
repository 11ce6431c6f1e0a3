"""A small server for protocol conformance suites: `python -m realtime.engine.conformance --port 3000`.

Socket.IO at /socket.io/ and /socket.io-msgpack/, namespaces / and /custom: on connecting it emits `auth` with the
handshake's auth payload, answers `message` with `message-back` and acks `message-with-ack` with its arguments.
Engine.IO at /engine.io/ echoes every message. It takes any origin, has no state and is not part of Flow's server.
"""

import argparse
import asyncio
import logging
import signal
from collections.abc import Iterable
from typing import Any, Final

from aiohttp import web

from cluster.kernel.clock import SystemClock
from realtime.engine.limits import EVERY_ORIGIN, EngineLimits
from realtime.engine.port import Ack, Connection, Handshake
from realtime.engine.server import SocketEngine
from realtime.engine.session import Session
from realtime.engine.wire import Wire

_AUTH_DELAY_S: Final = 0.05
_SHUTDOWN_S: Final = 2.0
_CLOSE_TIMEOUT_MS: Final = 1_000


class EchoApplication:
    """The Socket.IO side (`port.EngineApplication`)."""

    def namespaces(self) -> frozenset[str]:
        return frozenset({"/", "/custom"})

    async def connect(self, connection: Connection, handshake: Handshake) -> None:
        # A little later: the suites listen for one message at a time and miss the second of two that come in one read.
        auth = handshake.auth if handshake.auth is not None else {}
        _ = asyncio.get_running_loop().call_later(_AUTH_DELAY_S, connection.emit, "auth", auth)

    def event(self, connection: Connection, name: str, args: list[Any], ack: Ack | None) -> None:
        if name == "message":
            connection.emit("message-back", *args)
        elif name == "message-with-ack" and ack is not None:
            ack(*args)

    def disconnected(self, connection: Connection, reason: str) -> None:
        return


class EchoMessages:
    """The Engine.IO side (`session.MessageHandler`)."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def message(self, data: str | bytes) -> None:
        self._session.send(Wire(b"4" + data.encode()) if isinstance(data, str) else Wire(None, (data,)))

    def farewell(self) -> Iterable[Wire]:
        return ()

    def expired(self) -> None:
        return

    def closed(self, reason: str) -> None:
        return


async def serve(host: str, port: int, limits: EngineLimits) -> None:
    """Serve until the process is told to stop."""
    told = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        # Also when it is ignored, as a shell has it for what it starts in the background.
        asyncio.get_running_loop().add_signal_handler(number, told.set)
    app = web.Application()
    engine = SocketEngine(EchoApplication(), limits, SystemClock())
    engine.attach(app)
    engine.attach_handler(app, "/engine.io/", EchoMessages)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=_SHUTDOWN_S)
    await runner.setup()
    try:
        await engine.site(runner, host, port).start()
        logging.getLogger("flow.engine").info("conformance server on http://%s:%d", host, port)
        _ = await told.wait()
    finally:
        await runner.cleanup()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m realtime.engine.conformance", description=__doc__)
    parser.add_argument("--host", default="localhost")
    parser.add_argument("--port", type=int, default=3000)
    parser.add_argument("--ping-interval", type=int, default=300, metavar="MS")
    parser.add_argument("--ping-timeout", type=int, default=200, metavar="MS")
    parser.add_argument("--connect-timeout", type=int, default=1000, metavar="MS")
    parser.add_argument("--max-payload", type=int, default=1_000_000, metavar="BYTES")
    given = parser.parse_args()
    limits = EngineLimits(
        ping_interval_ms=given.ping_interval,
        ping_timeout_ms=given.ping_timeout,
        connect_timeout_ms=given.connect_timeout,
        close_timeout_ms=_CLOSE_TIMEOUT_MS,
        max_payload_bytes=given.max_payload,
        cors_allowed_origins=EVERY_ORIGIN,
    )
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    asyncio.run(serve(given.host, given.port, limits))


if __name__ == "__main__":
    main()
