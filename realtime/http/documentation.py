"""The pages about the interface: `/v1/openapi.json`, `/docs` to try it, `/metrics`, and `/` which leads to `/docs`.

Served from memory: the files of `page/` are read once when the interface is mounted. The page loads nothing from
anywhere else, and its content security policy says so.
"""

from collections.abc import Awaitable, Callable, Sequence
from importlib import resources
from typing import Final

import orjson
from aiohttp import web

from realtime.http.context import ApiContext
from realtime.http.openapi import document
from realtime.http.operations import AnyOperation

_METRICS_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
_PAGE_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_PAGE_FILES: Final = {
    "/docs": ("index.html", "text/html"),
    "/docs/page.js": ("page.js", "text/javascript"),
    "/docs/page.css": ("page.css", "text/css"),
}


def mount(app: web.Application, context: ApiContext, operations: Sequence[AnyOperation]) -> None:
    """Add the routes to `app`."""
    app.router.add_get(
        "/v1/openapi.json", _fixed(orjson.dumps(document(operations, context.version)), "application/json")
    )
    for path, (name, content_type) in _PAGE_FILES.items():
        body = resources.files("realtime.http").joinpath("page", name).read_bytes()
        app.router.add_get(path, _fixed(body, content_type))

    async def metrics(_: web.Request) -> web.Response:
        return web.Response(body=context.metrics.render(), headers={"Content-Type": _METRICS_TYPE})

    async def home(_: web.Request) -> web.Response:
        return web.Response(status=302, headers={"Location": "/docs"})

    app.router.add_get("/metrics", metrics)
    app.router.add_get("/", home)


def _fixed(body: bytes, content_type: str) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def answer(_: web.Request) -> web.Response:
        response = web.Response(body=body, content_type=content_type, charset="utf-8")
        response.headers["Cache-Control"] = "no-cache"
        response.headers["Content-Security-Policy"] = _PAGE_POLICY
        return response

    return answer
