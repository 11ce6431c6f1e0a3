"""From an aiohttp request to an operation's handler and back: rate limit, token, path, query, body, handler, JSON.

Made once by `api.mount`; the handlers of all resources run inside it. It reads no byte of a body before the caller is
known and allowed, and never more bytes than the operation takes.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec
from aiohttp import hdrs, web

from cluster.kernel.errors import NOT_FOUND, TOO_LARGE, UNAUTHENTICATED, FlowError
from cluster.kernel.ids import is_id
from realtime.addresses import address_block, remote_address
from realtime.http.context import ApiContext, Caller
from realtime.http.fields import Nothing
from realtime.http.middlewares import REQUEST_ID
from realtime.http.operations import AnyOperation, Call
from realtime.http.throttle import Throttle
from realtime.http.validation import decode_json, shaped, shaped_query

_BEARER = "bearer "


class Dispatcher:
    """Wraps operations as aiohttp handlers."""

    def __init__(self, context: ApiContext) -> None:
        self._context = context
        self._per_user = Throttle(context.settings.requests_per_user, context.clock)
        self._per_address = Throttle(context.settings.requests_per_address, context.clock)

    def handler(self, row: AnyOperation) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def handle(request: web.Request) -> web.StreamResponse:
            call = await self._call(row, request)
            return _answer(row, await row.handle(call))

        return handle

    async def _call(self, row: AnyOperation, request: web.Request) -> Call[Any, Any]:
        address = remote_address(request, self._context.settings.trusted_proxies)
        signed_in = self._admit(row, request, address)
        return Call(
            context=self._context,
            path=_checked_path(request.match_info),
            query=shaped_query(request.query.items(), row.query),
            body=shaped(decode_json(await _read(request, row.max_body_bytes)), row.body)
            if row.takes_body
            else Nothing(),
            address=address,
            request_id=request[REQUEST_ID],
            signed_in=signed_in,
        )

    def _admit(self, row: AnyOperation, request: web.Request, address: str) -> Caller | None:
        self._per_address.take(address_block(address))
        if row.access == "public":
            return None
        try:
            caller = self._context.tokens.verify(_bearer(request))
        except FlowError:
            if row.access == "optional":
                return None
            raise
        self._per_user.take(caller.user_id)
        return caller

    def statistics(self) -> dict[str, float]:
        """How often each rate refused somebody, and how many names each remembers."""
        throttles = {"user": self._per_user, "address": self._per_address}
        return {
            f"http_{name}_{what}": value
            for name, throttle in throttles.items()
            for what, value in throttle.statistics().items()
        }


def _bearer(request: web.Request) -> str:
    header = request.headers.get(hdrs.AUTHORIZATION, "")
    if header[: len(_BEARER)].lower() != _BEARER:
        raise FlowError(UNAUTHENTICATED, "Send the access token as `Authorization: Bearer …`.")
    return header[len(_BEARER) :].strip()


def _checked_path(values: Mapping[str, str]) -> Mapping[str, str]:
    """What is named `id` is one; what is not an id names nothing that exists."""
    for name, value in values.items():
        if name == "id" and not is_id(value):
            raise FlowError(NOT_FOUND, fields=(name,))
    return dict(values)


async def _read(request: web.Request, limit: int) -> bytes:
    """The body, or TOO_LARGE as soon as it is known to be longer than `limit` bytes."""
    if (request.content_length or 0) > limit:
        raise _too_large(limit)
    chunks = bytearray()
    async for chunk in request.content.iter_any():
        chunks += chunk
        if len(chunks) > limit:
            raise _too_large(limit)
    return bytes(chunks)


def _too_large(limit: int) -> FlowError:
    return FlowError(TOO_LARGE, f"The body may have at most {limit:,} bytes.")


def _answer(row: AnyOperation, reply: msgspec.Struct) -> web.Response:
    if row.reply is Nothing:
        return web.Response(status=204)
    headers = {"Location": row.location(reply)} if row.location is not None else None
    return web.Response(
        status=row.status, body=msgspec.json.encode(reply), content_type="application/json", headers=headers
    )
