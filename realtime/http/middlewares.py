"""What happens around every HTTP request: id, deadline, errors as problems, metrics, CORS and security headers.

One middleware, outermost, installed by `api.mount` on the edge's application. It leaves alone the routes of others on
the same application (the socket engine: its sockets have no deadline), but answers for addresses that nobody has.
It promises that nothing but a row of the error table leaves, that every request is counted once under its route's
template, and that no handler runs longer than the deadline.
"""

import asyncio
import logging
import re
from typing import Final

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler, Middleware

from cluster.kernel.errors import DEADLINE_EXCEEDED, INTERNAL, METHOD_NOT_ALLOWED, FlowError
from cluster.kernel.ids import new_id
from realtime.http.context import ApiContext
from realtime.http.cors import CrossOrigin
from realtime.http.problems import from_http_exception, headers_of, problem_response

_log = logging.getLogger("flow.http")

REQUEST_ID: Final = web.RequestKey("flow.request_id", str)
TEMPLATES: Final = web.AppKey("flow.http.templates", frozenset[str])
"""The route templates of the API; requests to other routes of the application pass untouched."""

UNMATCHED: Final = "unmatched"
_GIVEN_ID = re.compile(r"[A-Za-z0-9._-]{1,64}\Z")
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PATCH", "DELETE", "OPTIONS", "PUT"})

_SECURITY_HEADERS: Final = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
_HTTPS_ONLY: Final = {"Strict-Transport-Security": "max-age=31536000"}
"""For browsers that came by https, as they do in production; over plain http they do not look at it."""


def outermost(context: ApiContext) -> Middleware:
    """The middleware that wraps everything."""
    cross_origin = CrossOrigin(context.settings.cors_origins)
    fixed = _SECURITY_HEADERS if context.development else _SECURITY_HEADERS | _HTTPS_ONLY

    @web.middleware
    async def answer(request: web.Request, handler: Handler) -> web.StreamResponse:
        template = _template(request)
        if template is None:
            return await handler(request)
        request_id = _request_id(request)
        request[REQUEST_ID] = request_id
        started = context.clock.monotonic()
        origin = request.headers.get(hdrs.ORIGIN)
        if _is_preflight(request, template):
            response: web.StreamResponse = web.Response(status=204, headers=cross_origin.preflight(origin))
        else:
            response = await _guarded(context, request, handler, request_id, template)
        response.headers["X-Request-Id"] = request_id
        response.headers.update(cross_origin.headers(origin))
        for name, value in fixed.items():
            response.headers.setdefault(name, value)
        method = request.method if request.method in _METHODS else "OTHER"
        context.metrics.observe_http(method, template, response.status, context.clock.monotonic() - started)
        return response

    return answer


async def _guarded(
    context: ApiContext, request: web.Request, handler: Handler, request_id: str, template: str
) -> web.StreamResponse:
    """The handler's answer, or a problem; never an exception but cancellation."""
    scope = asyncio.timeout(context.settings.deadline_s)
    try:
        async with scope:
            return await handler(request)
    except FlowError as error:
        if error.kind is INTERNAL:
            _log.exception("%s %s failed, request %s", request.method, template, request_id)
        return problem_response(error, request_id)
    except web.HTTPException as error:
        response = problem_response(from_http_exception(error), request_id)
        response.headers.update(headers_of(error))
        return response
    except TimeoutError:
        if scope.expired():
            return problem_response(FlowError(DEADLINE_EXCEEDED), request_id)
        _log.exception("%s %s failed, request %s", request.method, template, request_id)
        return problem_response(FlowError(INTERNAL), request_id)
    except ConnectionError:
        raise
    except Exception:  # noqa: BLE001 - the last boundary: whatever it was is logged here and answered as INTERNAL
        _log.exception("%s %s failed, request %s", request.method, template, request_id)
        return problem_response(FlowError(INTERNAL), request_id)


def _template(request: web.Request) -> str | None:
    """The API's route template, UNMATCHED for an address nobody has, None for somebody else's route."""
    match = request.match_info
    resource = match.route.resource
    if match.http_exception is not None or resource is None:
        return UNMATCHED
    return resource.canonical if resource.canonical in request.app[TEMPLATES] else None


def _request_id(request: web.Request) -> str:
    given = request.headers.get("X-Request-Id", "")
    return given if _GIVEN_ID.match(given) else new_id()


def _is_preflight(request: web.Request, template: str) -> bool:
    if request.method != hdrs.METH_OPTIONS or hdrs.ACCESS_CONTROL_REQUEST_METHOD not in request.headers:
        return False
    error = request.match_info.http_exception
    return template != UNMATCHED or (error is not None and error.status == METHOD_NOT_ALLOWED.http_status)
