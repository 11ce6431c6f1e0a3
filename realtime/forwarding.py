"""Requests of a session that landed on the wrong edge, passed on to the edge that the session's id names.

The engine asks when it does not know a session id. Polls and posts are passed on one by one; a websocket, with which a
polling client upgrades, is spliced to its edge for as long as it lives. So a load balancer needs no stickiness. It
promises that a post is passed on at most once, and any request only to an edge of the present view, with bounds on
number, size and time; an edge that has come up since the view was read is looked for once. A poll's answer that this
edge does not live to pass on is not skipped: the owner tells it again when the poll is repeated (`engine.polling`), or
the client sees that it broke (`engine.early_head`). That an edge has passed a request on is proven with the cluster's
secret; what a client claims of it is ignored. The address of a session is that of its opening request, which is never
passed on.
"""

import asyncio
import base64
import hashlib
import hmac
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

import aiohttp
from aiohttp import hdrs, web
from yarl import URL

from cluster.kernel.clock import Clock
from cluster.placement.view import Member, View
from realtime.engine.early_head import EarlyHead
from realtime.engine.handover import websocket_accept
from realtime.splicing import Splices

_SEPARATOR: Final = "~"
_HEADER: Final = "X-Flow-Forwarded"
_REQUEST_HEADERS: Final = ("Content-Type", "Origin", "Cookie", "User-Agent", "Accept-Encoding")
_WEBSOCKET_HEADERS: Final = ("Origin", "Sec-WebSocket-Key", "Sec-WebSocket-Version")
_ANSWER_HEADERS: Final = (
    "Content-Type",
    "Content-Encoding",
    "Access-Control-Allow-Origin",
    "Access-Control-Allow-Credentials",
    "Vary",
    "Cache-Control",
)
_TIMEOUT_S: Final = 60.0
_CONNECT_TIMEOUT_S: Final = 2.0
_MAX_REQUESTS: Final = 2_000
_MAX_CLOCK_SKEW_S: Final = 60
_LEAST_GAP_S: Final = 0.05
"""Between two looks for a newer view, whoever asks for sessions of edges that do not exist."""


def session_prefix(edge: str) -> str:
    """What the session ids of an edge begin with."""
    return f"{edge}{_SEPARATOR}"


class HopSigner:
    """Proves between edges that a request was passed on: of this target, about now."""

    def __init__(self, secret: bytes, clock: Clock) -> None:
        self._key = hashlib.blake2b(secret, digest_size=32, person=b"flow-forwarding").digest()
        self._clock = clock

    def sign(self, method: str, target: str) -> str:
        second = self._clock.now_ms() // 1000
        return f"{second}.{self._mac(second, method, target)}"

    def is_proven(self, header: str, method: str, target: str) -> bool:
        digits, _, mac = header.partition(".")
        if not (digits.isascii() and digits.isdigit() and len(digits) < 16 and mac.isascii()):
            return False
        second = int(digits)
        is_recent = abs(self._clock.now_ms() // 1000 - second) <= _MAX_CLOCK_SKEW_S
        return is_recent and hmac.compare_digest(mac, self._mac(second, method, target))

    def _mac(self, second: int, method: str, target: str) -> str:
        said = f"{second}\n{method}\n{target}".encode(errors="surrogatepass")
        return base64.urlsafe_b64encode(hmac.digest(self._key, said, "sha256")).decode()


class Forwarder:
    """`view` gives the view as it is known, `look` has it read anew and does not raise. `close` it in its loop."""

    def __init__(
        self, edge: str, view: Callable[[], View], look: Callable[[], Awaitable[None]], signer: HopSigner
    ) -> None:
        self._edge = edge
        self._view = view
        self._look = look
        self._looking = asyncio.Lock()
        self._looked_at = float("-inf")
        self._signer = signer
        self._client: aiohttp.ClientSession | None = None
        self.splices = Splices()
        self._under_way = 0
        self._forwarded = 0
        self._failed = 0
        self._refused = 0

    async def __call__(
        self, session_id: str, request: web.Request, headers: Mapping[str, str]
    ) -> web.StreamResponse | None:
        """The owner's answer; None when nobody known owns this session, or it does not answer. `headers`: of an answer
        that must begin before the owner's is there."""
        target = request.path_qs
        name, found, _ = session_id.partition(_SEPARATOR)
        if not found or name == self._edge:
            return None
        if self._signer.is_proven(request.headers.get(_HEADER, ""), request.method, target):
            return None
        if self._under_way >= _MAX_REQUESTS:
            self._refused += 1
            return web.Response(status=503)
        self._under_way += 1
        head = EarlyHead(request, headers)
        try:
            answer = await self._to_owner(name, request, target, head)
        except (TimeoutError, OSError, aiohttp.ClientError):
            self._failed += 1
            answer = None
        finally:
            self._under_way -= 1
        return await head.followed_by(answer)

    async def _to_owner(
        self, name: str, request: web.Request, target: str, head: EarlyHead
    ) -> web.StreamResponse | None:
        known = self._edge_called(name)
        if known is not None:
            try:
                return await self._send(known, request, target, head)
            except (ConnectionRefusedError, aiohttp.ClientConnectorError):
                self._failed += 1  # nobody is there, so nobody has read any of it
        await self._look_again()
        newer = self._edge_called(name)
        if newer is None or (known is not None and newer.address == known.address):
            return None
        return await self._send(newer, request, target, head)

    async def _look_again(self) -> None:
        """Those who wait share the next look."""
        loop = asyncio.get_running_loop()
        asked = loop.time()
        async with self._looking:
            if self._looked_at <= asked:
                await asyncio.sleep(self._looked_at + _LEAST_GAP_S - asked)
                self._looked_at = loop.time()
                await self._look()

    def _edge_called(self, name: str) -> Member | None:
        member = self._view().member(name)
        return member if member is not None and member.kind == "edge" else None

    async def _send(
        self, member: Member, request: web.Request, target: str, head: EarlyHead
    ) -> web.StreamResponse | None:
        if websocket_accept(request) is not None:
            return await self._splice(member, request, target)
        await head.send_if_needed()
        return await self._pass_on(member, request, target)

    async def _splice(self, member: Member, request: web.Request, target: str) -> web.StreamResponse | None:
        lines = [f"GET {target} HTTP/1.1", f"Host: {request.host}", "Connection: Upgrade", "Upgrade: websocket"]
        lines += [f"{name}: {request.headers[name]}" for name in _WEBSOCKET_HEADERS if name in request.headers]
        lines.append(f"{_HEADER}: {self._signer.sign('GET', target)}")
        head = "\r\n".join([*lines, "", ""]).encode()
        return await self.splices.join(request, member.address, head, _CONNECT_TIMEOUT_S)

    async def _pass_on(self, member: Member, request: web.Request, target: str) -> web.Response:
        client = self._client
        if client is None:
            client = self._client = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0),
                timeout=aiohttp.ClientTimeout(total=_TIMEOUT_S, connect=_CONNECT_TIMEOUT_S),
                auto_decompress=False,
            )
        headers = {name: request.headers[name] for name in _REQUEST_HEADERS if name in request.headers}
        headers[hdrs.HOST] = request.host  # the owner compares the origin with it
        headers[_HEADER] = self._signer.sign(request.method, target)
        body = await request.read() if request.body_exists else None
        url = URL(f"http://{member.address}{target}", encoded=True)
        async with client.request(request.method, url, headers=headers, data=body, allow_redirects=False) as answer:
            self._forwarded += 1
            return web.Response(
                status=answer.status,
                body=await answer.read(),
                headers={name: answer.headers[name] for name in _ANSWER_HEADERS if name in answer.headers},
            )

    async def close(self) -> None:
        self.splices.cut()
        client, self._client = self._client, None
        if client is not None:
            await client.close()

    def statistics(self) -> dict[str, float]:
        return {
            "requests_forwarded": self._forwarded,
            "requests_forwarding": self._under_way,
            "requests_forward_failed": self._failed,
            "requests_forward_refused": self._refused,
            **self.splices.statistics(),
        }
