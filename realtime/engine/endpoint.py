"""One HTTP path of the engine: checks each request against Engine.IO v4 and gives it to its session.

Opens sessions (polling or websocket), serves polls and posts, starts upgrades. A request for a session of another edge
is passed to `foreign_session` when there is one. Every refusal is Engine.IO's own: {"code", "message"}.
"""

import asyncio
import math
from collections.abc import Awaitable, Callable, Mapping
from enum import Enum
from typing import Final, Protocol

import orjson
from aiohttp import hdrs, web

from cluster.kernel.errors import PROTOCOL_ERROR, TOO_LARGE
from realtime.engine.cors import cors_headers, may_connect
from realtime.engine.early_head import EarlyHead
from realtime.engine.handover import accept_key, hand_over, switching, websocket_accept
from realtime.engine.offset_keeper import keeps_offsets
from realtime.engine.packets import ProtocolViolation
from realtime.engine.polling import PollingTransport, decode_payload, poll_mark
from realtime.engine.request_head import RequestHead, plain_query
from realtime.engine.runtime import Runtime
from realtime.engine.session import MessageHandler, Peer, Session
from realtime.engine.upgrade import UpgradeProbe
from realtime.engine.websocket import WebSocketTransport

Headers = Mapping[str, str]
ForeignSession = Callable[[str, web.Request, Headers], Awaitable[web.StreamResponse | None]]
"""Session id, request, and the headers of this endpoint's own answer to it."""

OpenHandler = Callable[[Session], MessageHandler]


class Door(Protocol):
    """Who may open a session, asked before anything is done for it."""

    def address(self, peer: str, forwarded_for: str) -> str:
        """Whose request it is: `peer` is the connection's other end, before which proxies may have said for whom they
        speak (X-Forwarded-For)."""

    def wait_s(self) -> float:
        """0.0 lets one session in, else the seconds after which the client may ask again."""


class OpenDoor:
    """Lets everybody in."""

    def address(self, peer: str, forwarded_for: str) -> str:
        return peer

    def wait_s(self) -> float:
        return 0.0


_MAX_ID_CHARACTERS: Final = 128
_FULL_RETRY_S: Final = 5.0


class Refusal(Enum):
    """Engine.IO's refusals: HTTP status, code, sentence."""

    UNKNOWN_TRANSPORT = (400, 0, "Transport unknown")
    UNKNOWN_SESSION = (400, 1, "Session ID unknown")
    BAD_METHOD = (400, 2, "Bad handshake method")
    BAD_REQUEST = (400, 3, "Bad request")
    FORBIDDEN = (403, 4, "Forbidden")
    UNSUPPORTED_VERSION = (400, 5, "Unsupported protocol version")
    TOO_LARGE = (413, 3, "Payload too large")
    FULL = (503, 4, "The server takes no more connections now")


def _body(refusal: Refusal) -> bytes:
    _, code, message = refusal.value
    return orjson.dumps({"code": code, "message": message})


_FULL_BODY: Final = _body(Refusal.FULL)
_FULL_HEAD: Final = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nRetry-After: %d\r\n"
    b"Content-Length: %d\r\nConnection: close\r\n\r\n"
)


class Refused(Exception):
    def __init__(self, refusal: Refusal, retry_after_s: float = 0.0) -> None:
        super().__init__(refusal.value[2])
        self.refusal = refusal
        self.retry_after_s = retry_after_s


class Endpoint:
    """Serves one path; `open_handler` says what its sessions carry."""

    def __init__(
        self,
        runtime: Runtime,
        open_handler: OpenHandler,
        foreign_session: ForeignSession | None,
        door: Door | None = None,
    ) -> None:
        self._runtime = runtime
        self._open_handler = open_handler
        self._door = door or OpenDoor()
        self._foreign_session = foreign_session

    async def handle(self, request: web.Request) -> web.StreamResponse:
        headers = cors_headers(request, self._runtime.limits.cors_allowed_origins)
        if headers is None:
            return self._refusal(Refusal.FORBIDDEN, {})
        if request.method == "OPTIONS":
            return web.Response(status=204, headers=headers)
        try:
            return await self._serve(request, headers)
        except Refused as refused:
            if refused.retry_after_s:
                headers["Retry-After"] = str(math.ceil(refused.retry_after_s))
            return self._refusal(refused.refusal, headers)

    def _refusal(self, refusal: Refusal, headers: dict[str, str]) -> web.Response:
        self._runtime.counters.requests_refused += 1
        response = web.Response(
            status=refusal.value[0], body=_body(refusal), headers=headers, content_type="application/json"
        )
        if refusal is Refusal.TOO_LARGE:
            response.force_close()
        return response

    async def _serve(self, request: web.Request, headers: dict[str, str]) -> web.StreamResponse:
        query = request.query
        transport = query.get("transport")
        if transport not in ("polling", "websocket"):
            raise Refused(Refusal.UNKNOWN_TRANSPORT)
        if query.get("EIO") != "4":
            raise Refused(Refusal.UNSUPPORTED_VERSION)
        session_id = query.get("sid")
        if session_id is None:
            return self._open(request, transport, headers)
        session = self._runtime.sessions.get(session_id)
        if session is None or session.endpoint is not self:
            return await self._foreign(session_id, request, headers)
        if transport == "websocket":
            return self._upgrade(request, session)
        return await self._poll_or_post(request, session, headers)

    async def _foreign(self, session_id: str, request: web.Request, headers: dict[str, str]) -> web.StreamResponse:
        own = session_id.startswith(self._runtime.session_prefix)
        if self._foreign_session is not None and not own and len(session_id) <= _MAX_ID_CHARACTERS:
            response = await self._foreign_session(session_id, request, _plain(headers))
            if response is not None:
                return response
        raise Refused(Refusal.UNKNOWN_SESSION)

    def _open(self, request: web.Request, transport: str, headers: dict[str, str]) -> web.StreamResponse:
        if request.method != "GET":
            raise Refused(Refusal.BAD_METHOD)
        accept = websocket_accept(request)
        if (accept is None) != (transport == "polling"):
            raise Refused(Refusal.BAD_REQUEST)
        if self._runtime.is_full:
            raise Refused(Refusal.FULL, _FULL_RETRY_S)
        wait = self._door.wait_s()
        if wait:
            raise Refused(Refusal.FULL, wait)
        said = request.headers
        forwarded = ",".join(said.getall(hdrs.X_FORWARDED_FOR, ()))
        address = self._door.address(request.remote or "", forwarded)
        session = self._session(address, request.query_string, said)
        if accept is None:
            polling = PollingTransport(self._runtime, session, poll_mark(request.query))
            session.transport = polling
            session.start()
            return _answer(polling.take(), headers)
        websocket = WebSocketTransport(self._runtime, session)
        session.transport = websocket
        response = hand_over(request, websocket, accept)
        session.start()
        return response

    def _session(self, address: str, query_string: str, said: Mapping[str, str]) -> Session:
        keeper = keeps_offsets(query_string, said.get("user-agent"), said.get("sec-websocket-extensions"))
        session = Session(self._runtime, self, Peer(address, said.get("origin"), query_string, keeper))
        session.handler = self._open_handler(session)
        return session

    def opens_websocket(self, head: RequestHead) -> bool:
        """Whether a new session by websocket is asked for, in the plain form."""
        query = plain_query(head.query_string)
        return query is not None and query.get("transport") == "websocket" and "sid" not in query

    def open_websocket(self, head: RequestHead, transport: asyncio.Transport, early: bytes) -> bool:
        """Open the session that `opens_websocket`, `early` being what follows its head, or refuse it for want of room.
        False when something is wrong with it: `handle` says so.
        """
        query, said = plain_query(head.query_string), head.headers
        if query is None or query.get("EIO") != "4":
            return False
        if not may_connect(said.get("origin"), said.get("host", ""), self._runtime.limits.cors_allowed_origins):
            return False
        accept = accept_key(said)
        if accept is None:
            return False
        wait = _FULL_RETRY_S if self._runtime.is_full else self._door.wait_s()
        if wait:
            self._turn_away_newcomer(transport, wait)
            return True
        peer: tuple[str, int] | None = transport.get_extra_info("peername")
        address = self._door.address(peer[0] if peer else "", said.get("x-forwarded-for", ""))
        session = self._session(address, head.query_string, said)
        session.transport = websocket = WebSocketTransport(self._runtime, session)
        websocket.attach(transport, switching(accept))
        session.start()
        if early:
            websocket.data_received(early)
        return True

    def _turn_away_newcomer(self, transport: asyncio.Transport, wait_s: float) -> None:
        """As `_refusal` does, and with less: a crowd that is turned away must cost next to nothing."""
        self._runtime.counters.requests_refused += 1
        transport.write(_FULL_HEAD % (math.ceil(wait_s), len(_FULL_BODY)) + _FULL_BODY)
        transport.close()

    def _upgrade(self, request: web.Request, session: Session) -> web.StreamResponse:
        accept = websocket_accept(request)
        polling = session.transport
        if accept is None or not session.is_alive():
            raise Refused(Refusal.BAD_REQUEST)
        if not isinstance(polling, PollingTransport) or session.probe is not None:
            return self._turn_away(request, accept)
        probe = UpgradeProbe(self._runtime, session, polling)
        return hand_over(request, probe.websocket, accept)

    def _turn_away(self, request: web.Request, accept: str) -> web.StreamResponse:
        """A session has one websocket at most. The second is opened and closed, as the reference server does."""
        websocket = WebSocketTransport(self._runtime, None)
        response = hand_over(request, websocket, accept)
        self._runtime.counters.violations += 1
        websocket.close(PROTOCOL_ERROR.close_code or 1002, PROTOCOL_ERROR.code)
        return response

    async def _poll_or_post(
        self, request: web.Request, session: Session, headers: dict[str, str]
    ) -> web.StreamResponse:
        polling = session.transport
        if not isinstance(polling, PollingTransport) or "Upgrade" in request.headers:
            raise Refused(Refusal.BAD_REQUEST)
        if not session.is_alive() and not polling.is_owed:
            raise Refused(Refusal.UNKNOWN_SESSION)
        if request.method == "GET":
            return await self._poll(request, session, polling, headers)
        if request.method == "POST":
            await self._post(request, session, polling)
            return _answer(b"ok", headers)
        raise Refused(Refusal.BAD_METHOD)

    async def _poll(
        self, request: web.Request, session: Session, polling: PollingTransport, headers: Headers
    ) -> web.StreamResponse:
        mark = poll_mark(request.query)
        if not polling.takes_poll(mark):
            session.close(PROTOCOL_ERROR)
            raise Refused(Refusal.BAD_REQUEST)
        head = EarlyHead(request, _plain(headers))
        try:
            await head.send_if_needed()
        except ConnectionError as error:
            session.lost("transport_close")
            raise Refused(Refusal.BAD_REQUEST) from error
        body = await polling.poll(mark) if polling.takes_poll(mark) else None
        if request.transport is None and session.transport is polling and body is not None:
            session.lost("transport_close")
        answer = await head.followed_by(None if body is None else _answer(body, headers))
        if answer is None:
            raise Refused(Refusal.BAD_REQUEST)
        return answer

    async def _post(self, request: web.Request, session: Session, polling: PollingTransport) -> None:
        if polling.is_posting:
            session.close(PROTOCOL_ERROR)
            raise Refused(Refusal.BAD_REQUEST)
        polling.is_posting = True
        try:
            body = await self._read_body(request, session)
        finally:
            polling.is_posting = False
        try:
            for packet in decode_payload(body, self._runtime.limits.max_packets_per_payload):
                if not session.receive(packet):
                    raise Refused(Refusal.BAD_REQUEST)
        except ProtocolViolation as violation:
            session.violated()
            raise Refused(Refusal.BAD_REQUEST) from violation

    async def _read_body(self, request: web.Request, session: Session) -> bytes:
        limit = self._runtime.limits.max_payload_bytes
        body = bytearray()
        try:
            async with asyncio.timeout(self._runtime.limits.ping_timeout_s):
                while max(request.content_length or 0, len(body)) <= limit:
                    chunk = await request.content.readany()
                    if not chunk:
                        return bytes(body)
                    body += chunk
        except (TimeoutError, ConnectionError, web.RequestPayloadError) as error:
            session.lost("transport_error")
            raise Refused(Refusal.BAD_REQUEST) from error
        session.close(TOO_LARGE)
        raise Refused(Refusal.TOO_LARGE)


def _plain(headers: Headers) -> dict[str, str]:
    return {"Content-Type": "text/plain; charset=UTF-8", "Cache-Control": "no-store", **headers}


def _answer(body: bytes, headers: Headers) -> web.Response:
    return web.Response(body=body, headers=_plain(headers))
