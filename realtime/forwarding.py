"""Polling requests that landed on the wrong edge, passed on to the edge that their session id names.

The engine asks when it does not know a session id. It promises that a request is passed on at most once, only to an
edge of the present view, with bounds on size and time; so a load balancer needs no stickiness. Websockets are not
passed on: a client whose upgrade lands elsewhere goes on polling.
"""

from collections.abc import Callable
from typing import Final

import aiohttp
from aiohttp import web

from cluster.placement.view import View

_SEPARATOR: Final = "~"
_HEADER: Final = "X-Flow-Forwarded"
_REQUEST_HEADERS: Final = ("Content-Type", "Origin", "Cookie", "User-Agent", "Accept-Encoding")
_ANSWER_HEADERS: Final = (
    "Content-Type",
    "Content-Encoding",
    "Access-Control-Allow-Origin",
    "Access-Control-Allow-Credentials",
    "Vary",
    "Cache-Control",
)
_TIMEOUT_S: Final = 60.0
_MAX_CONNECTIONS: Final = 1_000


def session_prefix(edge: str) -> str:
    """What the session ids of an edge begin with."""
    return f"{edge}{_SEPARATOR}"


class Forwarder:
    """`view` gives the present view. `close` it in its loop."""

    def __init__(self, edge: str, view: Callable[[], View]) -> None:
        self._edge = edge
        self._view = view
        self._client: aiohttp.ClientSession | None = None
        self._forwarded = 0
        self._failed = 0

    async def __call__(self, session_id: str, request: web.Request) -> web.StreamResponse | None:
        """The owner's answer; None when nobody known owns this session."""
        name, found, _ = session_id.partition(_SEPARATOR)
        member = self._view().member(name) if found and name != self._edge else None
        is_upgrade = "upgrade" in request.headers.get("Connection", "").lower()
        if member is None or member.kind != "edge" or is_upgrade or _HEADER in request.headers:
            return None
        try:
            return await self._pass_on(f"http://{member.address}{request.rel_url}", request)
        except (TimeoutError, aiohttp.ClientError):
            self._failed += 1
            return None

    async def _pass_on(self, url: str, request: web.Request) -> web.Response:
        client = self._client
        if client is None:
            client = self._client = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=_MAX_CONNECTIONS),
                timeout=aiohttp.ClientTimeout(total=_TIMEOUT_S, connect=2.0),
                auto_decompress=False,
            )
        headers = {name: request.headers[name] for name in _REQUEST_HEADERS if name in request.headers}
        headers[_HEADER] = self._edge
        body = await request.read() if request.can_read_body else None
        async with client.request(request.method, url, headers=headers, data=body, allow_redirects=False) as answer:
            self._forwarded += 1
            return web.Response(
                status=answer.status,
                body=await answer.read(),
                headers={name: answer.headers[name] for name in _ANSWER_HEADERS if name in answer.headers},
            )

    async def close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            await client.close()

    def statistics(self) -> dict[str, float]:
        return {"requests_forwarded": self._forwarded, "requests_forward_failed": self._failed}
