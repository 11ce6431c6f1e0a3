"""The door to Ray's dashboard for this user on this machine: it adds the token that Ray asks for.

Ray's ports listen on every interface and ask for a token, and Ray's own commands (`serve deploy`, `ray job`) send it
only when the shell says RAY_AUTH_MODE=token. The supervisor opens this gate on loopback at the dashboard's usual port,
so that those commands work as they are, while the real dashboard keeps its token. It lets through processes of the same
user alone, and no page of a browser that came from elsewhere. It changes nothing else of a request or an answer.
"""

import os
from collections.abc import Callable, Mapping
from pathlib import Path

import aiohttp
from aiohttp import web

from cluster.kernel.errors import PORT_IN_USE, FlowError

_LOOPBACK = "127.0.0.1"
_TIMEOUT_S = 120.0
_MAX_BODY_BYTES = 256 * 1024 * 1024
_CONNECTIONS = Path("/proc/net/tcp")
_OWN_NAMES = ("127.0.0.1", "localhost")
_PER_HOP = frozenset(
    {"connection", "keep-alive", "transfer-encoding", "te", "trailer", "upgrade", "host", "content-length"}
)


class DashboardGate:
    """`target` is the real dashboard; `token_headers` gives what it asks for."""

    def __init__(self, port: int, target: str, token_headers: Callable[[], Mapping[str, str]]) -> None:
        self._port = port
        self._target = target
        self._token_headers = token_headers
        self._runner: web.AppRunner | None = None
        self._client: aiohttp.ClientSession | None = None

    async def start(self) -> None:
        """Raises FlowError PORT_IN_USE."""
        app = web.Application(client_max_size=_MAX_BODY_BYTES)
        app.router.add_route("*", "/{path:.*}", self._pass_on)
        self._client = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_TIMEOUT_S), auto_decompress=False)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, _LOOPBACK, self._port).start()
        except OSError as error:
            await self.stop()
            raise FlowError(
                PORT_IN_USE,
                f"Port {self._port}, for Ray's dashboard, is in use. Set flow.ray.dashboard_port to another.",
            ) from error

    async def stop(self) -> None:
        """Safe to call twice."""
        if self._runner is not None:
            await self._runner.cleanup()
        if self._client is not None:
            await self._client.close()

    async def _pass_on(self, request: web.Request) -> web.StreamResponse:
        if not self._is_own(request):
            raise web.HTTPForbidden(text="This door is for the user who started Flow, on this machine.\n")
        assert self._client is not None
        headers = {name: value for name, value in request.headers.items() if name.lower() not in _PER_HOP}
        headers.update(self._token_headers())
        body = await request.read()
        try:
            async with self._client.request(
                request.method, f"{self._target}{request.rel_url}", headers=headers, data=body, allow_redirects=False
            ) as answer:
                kept = {name: value for name, value in answer.headers.items() if name.lower() not in _PER_HOP}
                response = web.StreamResponse(status=answer.status, headers=kept)
                await response.prepare(request)
                async for chunk in answer.content.iter_any():
                    await response.write(chunk)
                await response.write_eof()
                return response
        except (aiohttp.ClientConnectionError, TimeoutError) as error:
            raise web.HTTPBadGateway(text="Ray's dashboard does not answer.\n") from error

    def _is_own(self, request: web.Request) -> bool:
        own = {f"{name}:{self._port}" for name in _OWN_NAMES}
        origin = request.headers.get("Origin")
        if request.host not in own or (origin is not None and origin.removeprefix("http://") not in own):
            return False
        peer = request.transport.get_extra_info("peername") if request.transport is not None else None
        return peer is not None and owner_of(peer[1], self._port) == os.getuid()


def owner_of(local_port: int, remote_port: int) -> int | None:
    """The user whose process holds the loopback connection from one port to the other; None when there is none."""
    for line in _CONNECTIONS.read_text().splitlines()[1:]:
        fields = line.split()
        if _port(fields[1]) == local_port and _port(fields[2]) == remote_port:
            return int(fields[7])
    return None


def _port(address: str) -> int:
    return int(address.rpartition(":")[2], 16)
