"""A stand-in for FCM's HTTP v1 endpoint: it keeps every body it was sent and answers as scripted.

It answers what the real service documents, error details included:
https://firebase.google.com/docs/reference/fcm/rest/v1/ErrorCode
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

_ERROR_DETAIL = "type.googleapis.com/google.firebase.fcm.v1.FcmError"
_STATUS = {
    "UNREGISTERED": (404, "NOT_FOUND"),
    "SENDER_ID_MISMATCH": (403, "PERMISSION_DENIED"),
    "QUOTA_EXCEEDED": (429, "RESOURCE_EXHAUSTED"),
    "INVALID_ARGUMENT": (400, "INVALID_ARGUMENT"),
    "INTERNAL": (500, "INTERNAL"),
}


@dataclass
class Scripted:
    """What to answer for one registration. `message` matters for INVALID_ARGUMENT: FCM says there what was wrong."""

    code: str
    message: str = "scripted"
    headers: dict[str, str] = field(default_factory=dict)


class FakeFcm:
    """`bodies` holds the `message` object of each accepted request, in order; `authorizations` the bearer headers."""

    def __init__(self) -> None:
        self.bodies: list[dict[str, Any]] = []
        self.authorizations: list[str] = []
        self.attempts: list[str] = []
        self.script: dict[str, Scripted] = {}
        self.endpoint = ""
        self._arrived = asyncio.Condition()
        self._runner: web.AppRunner | None = None

    async def start(self) -> "FakeFcm":
        application = web.Application()
        application.router.add_post("/v1/projects/{project}/messages:send", self._send)
        self._runner = web.AppRunner(application)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        host, port = self._runner.addresses[0][:2]
        self.endpoint = f"http://{host}:{port}"
        return self

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    async def wait_for_body(self, wanted: Callable[[dict[str, Any]], bool], timeout_s: float = 20.0) -> dict[str, Any]:
        """The first accepted message that is wanted; fails with what arrived when that takes too long."""

        def found() -> list[dict[str, Any]]:
            return [body for body in self.bodies if wanted(body)]

        async with self._arrived:
            try:
                async with asyncio.timeout(timeout_s):
                    await self._arrived.wait_for(found)
            except TimeoutError:
                raise AssertionError(f"the push did not come; these came: {self.bodies}") from None
        return found()[0]

    async def _send(self, request: web.Request) -> web.Response:
        message = (await request.json())["message"]
        registration = message.get("token") or message.get("fid") or ""
        self.attempts.append(registration)
        scripted = self.script.get(registration)
        if scripted is not None:
            return self._error(scripted)
        async with self._arrived:
            self.bodies.append(message)
            self.authorizations.append(request.headers.get("Authorization", ""))
            self._arrived.notify_all()
        return web.json_response({"name": f"projects/{request.match_info['project']}/messages/{len(self.bodies)}"})

    def _error(self, scripted: Scripted) -> web.Response:
        status, name = _STATUS[scripted.code]
        details = [{"@type": _ERROR_DETAIL, "errorCode": scripted.code}]
        body = {"error": {"code": status, "status": name, "message": scripted.message, "details": details}}
        return web.json_response(body, status=status, headers=scripted.headers)
