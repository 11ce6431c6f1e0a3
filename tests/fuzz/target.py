"""Runs one input after another through a real engine in this process, and checks after each that all is as it was.

No sockets and no real time: connections are in memory, the clock is moved by hand, the loop is turned until it has
nothing to do. A well-behaved neighbour on the same engine must get its own messages in order all the while.
"""

import asyncio
import json
import logging
from collections import Counter
from typing import Any, Final

from aiohttp import HttpVersion10, StreamReader, web
from aiohttp.base_protocol import BaseProtocol
from aiohttp.test_utils import make_mocked_request
from multidict import CIMultiDict

from cluster.kernel.clock import ManualClock
from realtime.engine.client import SocketIoClient
from realtime.engine.conformance import EchoMessages
from realtime.engine.endpoint import Endpoint, OpenHandler
from realtime.engine.events import JSON, MSGPACK
from realtime.engine.front import FirstRequest, Front
from realtime.engine.limits import EngineLimits
from realtime.engine.pacer import Pacer
from realtime.engine.polling import PollingTransport
from realtime.engine.server import SocketEngine
from realtime.engine.session import Peer, Session
from realtime.engine.upgrade import UpgradeProbe
from realtime.engine.websocket import WebSocketTransport
from tests.engine.harness import RecordingApplication, frame_bytes
from tests.fuzz.corpus import Surface
from tests.fuzz.framing import Wrong, frames, packets
from tests.fuzz.polls import OPENING_MARK, PollingClient
from tests.fuzz.transport import MemoryTransport

LIMITS: Final = EngineLimits(
    ping_interval_ms=1_000, ping_timeout_ms=1_000, connect_timeout_ms=500, upgrade_timeout_ms=500, close_timeout_ms=500,
    request_timeout_ms=500,
    max_payload_bytes=2_000, max_packets_per_payload=20, max_outbox_bytes=20_000, max_events_waiting_for_connect=8,
)  # fmt: skip
_CODES: Final = frozenset({*range(1000, 1004), *range(1007, 1015), *range(3000, 5000)})
_MAX_TURNS: Final = 200
_PEER: Final = Peer("127.0.0.1", None, "")


class _Application(RecordingApplication):
    """Echoes, and keeps nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.mistakes = 0

    def event(self, connection: Any, name: str, args: list[Any], ack: Any) -> None:
        super().event(connection, name if name != "fail" else "message", args, ack)
        self.events.get_nowait()

    async def connect(self, connection: Any, handshake: Any) -> None:
        await super().connect(connection, handshake)
        self.handshakes.clear()
        self.asked.get_nowait()
        self.connections.get_nowait()

    def disconnected(self, connection: Any, reason: str) -> None:
        """Nothing is kept."""


class _Errors(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.found: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.found.append(self.format(record))


class _Http(asyncio.Protocol):
    """In the place of the HTTP server."""

    def __init__(self) -> None:
        self.heard = b""

    def data_received(self, data: bytes) -> None:
        self.heard += data


class Bench:
    """One engine and its neighbour, in the running loop. `open` it first, `close` it when done."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.closes: Counter[str] = Counter()
        self._errors = _Errors()
        logging.getLogger().addHandler(self._errors)
        self.loop.set_exception_handler(lambda _, context: self._errors.found.append(repr(context)))
        self._clock = ManualClock()
        self._protocol = BaseProtocol(self.loop)
        self.engine = SocketEngine(_Application(), LIMITS, self._clock)
        # The engine's own rests for real time, which no input waits for.
        self.engine.runtime.admissions = Pacer(self.loop)
        self._endpoint = Endpoint(self.engine.runtime, EchoMessages, None)
        self._endpoint_json = Endpoint(self.engine.runtime, self._socket_io(JSON), None)
        self._heard = 0
        _, self._neighbour, _ = self._websocket(self._socket_io(JSON))

    async def open(self) -> None:
        """The neighbour connects."""
        self._neighbour.feed(frame_bytes(0x81, b"40"))
        await self._turn()
        self._neighbour.sent.clear()
        self._resting = self._state()

    def _socket_io(self, codec: Any) -> OpenHandler:
        application = self.engine._application
        return lambda session: SocketIoClient(self.engine.runtime, application, codec, session)

    def _websocket(self, open_handler: OpenHandler) -> tuple[WebSocketTransport, MemoryTransport, Session]:
        """What `Endpoint` does for a websocket, with a connection in memory."""
        runtime = self.engine.runtime
        session = Session(runtime, self._endpoint, _PEER)
        session.handler = open_handler(session)
        websocket = WebSocketTransport(runtime, session)
        session.transport = websocket
        transport = self._attach(websocket)
        session.start()
        return websocket, transport, session

    def _attach(self, websocket: WebSocketTransport) -> MemoryTransport:
        transport = MemoryTransport(self.loop, websocket)
        websocket.attach(transport, b"")
        return transport

    async def _turn(self) -> None:
        """Turn the loop until nothing is ready, within reason."""
        ready: Any = self.loop._ready  # type: ignore[attr-defined]
        for _ in range(_MAX_TURNS):
            await asyncio.sleep(0)
            if not ready:
                return
        raise Wrong("the loop never came to rest")

    def _state(self) -> dict[str, float]:
        statistics = self.engine.statistics()
        names = (
            "sockets",
            "connections",
            "admissions",
            "sockets_lingering",
            "connections_arriving",
            "flushes_waiting",
            "timers",
            "bytes_unsent",
        )
        return {name: statistics[name] for name in names} | {
            "tasks": len(asyncio.all_tasks(self.loop)), "owned": len(self.engine.runtime.tasks),
        }  # fmt: skip

    # --- one input ----------------------------------------------------------------------------------------------------

    async def run(self, data: bytes) -> None:
        """Raises Wrong, or whatever came out of the engine."""
        if len(data) < 2:
            return
        surface, how, rest = Surface(data[0] % len(Surface)), data[1], data[2:]
        match surface:
            case Surface.JSON_PACKETS | Surface.RAW_FRAMES:
                await self._run_websocket(self._socket_io(JSON), self._frames(surface, rest), how)
            case Surface.MSGPACK_PACKETS:
                await self._run_websocket(self._socket_io(MSGPACK), self._frames(surface, rest), how)
            case Surface.ENGINE_PACKETS:
                await self._run_websocket(EchoMessages, self._frames(surface, rest), how)
            case Surface.PAYLOADS:
                await self._run_polling(rest, how)
            case Surface.PROBE:
                await self._run_probe(self._frames(surface, rest), how)
            case Surface.QUERY:
                await self._run_query(rest, how)
            case Surface.FRONT:
                await self._run_front(rest, how)
            case Surface.POLLS:
                await self._run_polls(rest)
        await self._settle()

    def _frames(self, surface: Surface, rest: bytes) -> bytes:
        if surface is Surface.RAW_FRAMES:
            return rest
        return b"".join(frame_bytes(0x82 if binary else 0x81, body) for body, binary in packets(rest))

    async def _run_websocket(self, open_handler: OpenHandler, stream: bytes, how: int) -> None:
        _, transport, session = self._websocket(open_handler)
        await self._send(transport, stream, how)
        await self._listen_to_neighbour()
        await self._end(session, transport, how)

    async def _send(self, transport: MemoryTransport, stream: bytes, how: int) -> None:
        """In one piece, or in pieces of a few bytes."""
        size = (how & 0x0F) or max(1, len(stream))
        for start in range(0, len(stream), size):
            transport.feed(stream[start : start + size])
            if how & 0x10:
                await self._turn()
        await self._turn()

    async def _end(self, session: Session, transport: MemoryTransport, how: int) -> None:
        """The client goes, or says nothing more until the engine has had enough of it."""
        if how & 0x20 or not (session.is_open or how & 0x40):
            transport.end()
        await self._turn()
        await self._wait()
        self._note(session, transport)
        transport.end()

    async def _wait(self) -> None:
        """Longer than any timer of the engine, the neighbour answering its heartbeats."""
        runtime = self.engine.runtime
        for _ in range(6):
            if len(runtime.sessions) == 1 and not (runtime.lingering or runtime.tasks or runtime.arriving):
                return
            self._clock.advance(0.6)
            runtime.wheel.advance()
            await self._turn()
            if b"\x81\x012" in self._neighbour.sent:
                self._neighbour.sent = self._neighbour.sent.replace(b"\x81\x012", b"")
                self._neighbour.feed(frame_bytes(0x81, b"3"))

    def _note(self, session: Session, transport: MemoryTransport) -> None:
        if session.is_open:
            raise Wrong("a silent client was never closed")
        sent = list(frames(bytes(transport.sent)))
        first, last = sent[-1] if sent else (0, b"")
        if transport.has_eof or first == 0x88:
            code = int.from_bytes(last[:2], "big") if first == 0x88 else 0
            if code not in _CODES:
                raise Wrong(f"closed without a code that says why: {first:#x} {last!r}")
            self.closes[str(code)] += 1
        else:
            self.closes["client"] += 1

    async def _run_polling(self, body: bytes, how: int) -> None:
        opened = await self._ask(self._endpoint_json, "GET", "EIO=4&transport=polling")
        assert isinstance(opened.body, bytes)
        sid = json.loads(opened.body[1:])["sid"]
        session = self.engine.runtime.sessions[sid]
        query = f"EIO=4&transport=polling&sid={sid}"
        answer = await self._ask(self._endpoint_json, "POST", query, body)
        if answer.status not in (200, 400, 413):
            raise Wrong(f"a payload was answered {answer.status}")
        self.closes[f"http.{answer.status}"] += 1
        if answer.status != 200 and session.is_open:
            raise Wrong("a refused payload left its session open")
        await self._listen_to_neighbour()
        await self._wait()
        if how & 0x20:
            session.transport.abort()

    async def _run_polls(self, steps: bytes) -> None:
        opened = await self._ask(self._endpoint, "GET", f"EIO=4&transport=polling&t={OPENING_MARK}")
        assert isinstance(opened.body, bytes)
        sid = json.loads(opened.body[1:])["sid"]
        session = self.engine.runtime.sessions[sid]
        polling = session.transport
        assert isinstance(polling, PollingTransport)

        async def ask(method: str, mark: str, body: bytes) -> web.Response:
            return await self._ask(self._endpoint, method, f"EIO=4&transport=polling&sid={sid}&t={mark}", body)

        client = PollingClient(ask, self._turn)
        await client.follow(steps)
        await self._listen_to_neighbour()
        await client.fetch_the_rest(lambda: polling.is_owed)
        self.closes["polls.open" if session.is_open else "polls.closed"] += 1
        session.transport.abort()
        await client.go()

    async def _run_probe(self, stream: bytes, how: int) -> None:
        runtime = self.engine.runtime
        session = Session(runtime, self._endpoint, _PEER)
        session.handler = EchoMessages(session)
        session.transport = polling = PollingTransport(runtime, session)
        session.start()
        transport = self._attach(UpgradeProbe(runtime, session, polling).websocket)
        await self._send(transport, stream, how)
        await self._listen_to_neighbour()
        await self._end(session, transport, how)
        session.transport.abort()

    async def _run_front(self, stream: bytes, how: int) -> None:
        """A connection before anybody knows what it wants. HTTP, when it gets it, gets every byte."""
        given: list[_Http] = []

        def http() -> _Http:
            given.append(_Http())
            return given[-1]

        runtime = self.engine.runtime
        before = set(runtime.sessions)
        first = FirstRequest(Front(runtime, {"/engine.io/": self._endpoint}, http))
        transport = MemoryTransport(self.loop, first)
        first.connection_made(transport)
        await self._send(transport, stream, how)
        await self._listen_to_neighbour()
        if given and (len(given) > 1 or given[0].heard != stream):
            raise Wrong("HTTP was not given what the client sent")
        opened = set(runtime.sessions) - before
        if given and opened:
            raise Wrong("a connection was given to HTTP and opened a session")
        if how & 0x20:
            transport.end()
        await self._turn()
        await self._wait()
        self.closes["front.http" if given else "front.websocket" if opened else "front.closed"] += 1
        if not given and not transport.is_closing() and not transport.has_eof:
            raise Wrong("a connection that is nobody's was never closed")
        transport.end()

    async def _run_query(self, query: bytes, how: int) -> None:
        method = ("GET", "POST", "PUT", "HEAD", "DELETE", "PATCH")[how % 6]
        text = "".join(chr(byte) for byte in query if 0x20 < byte < 0x7F and byte != 0x23)
        before = set(self.engine.runtime.sessions)
        answer = await self._ask(self._endpoint, method, text)
        if answer.status not in (200, 400, 403, 413):
            raise Wrong(f"a handshake was answered {answer.status}")
        self.closes[f"http.{answer.status}"] += 1
        for sid in set(self.engine.runtime.sessions) - before:
            self.engine.runtime.sessions[sid].transport.abort()

    async def _ask(self, endpoint: Endpoint, method: str, query: str, body: bytes | None = None) -> web.Response:
        stream = StreamReader(self._protocol, 2**16, loop=self.loop)
        stream.feed_data(body or b"")
        stream.feed_eof()
        headers = CIMultiDict({"Host": "localhost"})
        # In HTTP/1.0, so that no answer is begun before it is whole.
        request = make_mocked_request(method, f"/engine.io/?{query}", headers, payload=stream, version=HttpVersion10)
        answer = await endpoint.handle(request)
        assert isinstance(answer, web.Response)
        return answer

    # --- after it -----------------------------------------------------------------------------------------------------

    async def _listen_to_neighbour(self) -> None:
        for _ in range(2):
            self._heard += 1
            self._neighbour.feed(frame_bytes(0x81, b'42["message",%d]' % self._heard))
        await self._turn()
        expected = [b'42["message-back",%d]' % number for number in (self._heard - 1, self._heard)]
        got = [payload for _, payload in frames(bytes(self._neighbour.sent)) if payload != b"2"]
        self._neighbour.sent.clear()
        if got != expected:
            raise Wrong(f"the neighbour got {got}, not {expected}")

    async def _settle(self) -> None:
        await self._turn()
        state = self._state()
        if state != self._resting:
            raise Wrong(f"left behind: {state}, not {self._resting}")
        if self._errors.found:
            found, self._errors.found = self._errors.found, []
            raise Wrong(found[0])

    def left_behind(self) -> dict[str, float]:
        """What is there now beside the neighbour, this very task's absence aside."""
        return {name: value - self._resting[name] for name, value in self._state().items() if name != "tasks"}

    async def close(self) -> None:
        self._neighbour.end()
        await self._turn()
        self.engine.runtime.wheel.stop()
        logging.getLogger().removeHandler(self._errors)
        self.loop.set_exception_handler(None)
