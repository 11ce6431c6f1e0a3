"""Errors as HTTP answers: RFC 9457 problem documents made from the error table.

Called by the middlewares for everything that is raised while a request is answered, unknown addresses included.
It promises that a client only ever sees a row of the table: never a stack trace, a driver's message or a value of its
own that it did not send in this request.
"""

import math
from typing import Any

import msgspec
from aiohttp import web

from cluster.kernel.errors import (
    FORBIDDEN,
    INTERNAL,
    INVALID_REQUEST,
    METHOD_NOT_ALLOWED,
    NOT_FOUND,
    TOO_LARGE,
    UNAUTHENTICATED,
    FlowError,
)

CONTENT_TYPE = "application/problem+json"

_STATUS_ROWS = {401: UNAUTHENTICATED, 403: FORBIDDEN, 404: NOT_FOUND, 405: METHOD_NOT_ALLOWED, 413: TOO_LARGE}


class Problem(msgspec.Struct, kw_only=True, omit_defaults=True, rename="camel"):
    """What every refused request is answered with (RFC 9457). `code` is the row of the error table and never changes
    its meaning; `type` is a link to its description; `fields` names what was wrong with the request."""

    type: str
    title: str
    status: int
    code: str
    retryable: bool
    detail: str = ""
    retry_after_ms: int | None = None
    fields: tuple[str, ...] = ()
    request_id: str = ""


def problem_of(error: FlowError, request_id: str = "") -> Problem:
    kind = error.kind
    return Problem(
        type=f"/docs#problem-{kind.code}",
        title=kind.message,
        status=kind.http_status,
        code=kind.code,
        retryable=kind.retryable,
        detail=error.message,
        retry_after_ms=error.retry_after_ms,
        fields=error.fields,
        request_id=request_id,
    )


def problem_response(error: FlowError, request_id: str = "") -> web.Response:
    """The whole answer: `Retry-After` in seconds, rounded up, where the error says when; a challenge on 401."""
    headers: dict[str, str] = {"Cache-Control": "no-store"}
    if error.retry_after_ms is not None:
        headers["Retry-After"] = str(max(1, math.ceil(error.retry_after_ms / 1000)))
    if error.kind.http_status == 401:
        headers["WWW-Authenticate"] = 'Bearer realm="flow"'
    return web.Response(
        status=error.kind.http_status,
        body=msgspec.json.encode(problem_of(error, request_id)),
        content_type=CONTENT_TYPE,
        headers=headers,
    )


def from_http_exception(error: web.HTTPException) -> FlowError:
    """What aiohttp itself refuses (no such address, wrong method, body over its limit) as a row of the table."""
    kind = _STATUS_ROWS.get(error.status)
    if kind is None:
        kind = INVALID_REQUEST if 400 <= error.status < 500 else INTERNAL
    return FlowError(kind)


def headers_of(error: web.HTTPException) -> dict[str, Any]:
    """The headers of aiohttp's answer that keep their meaning: the methods an address does take."""
    return {"Allow": error.headers["Allow"]} if "Allow" in error.headers else {}
