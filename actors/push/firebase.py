"""FCM through firebase-admin, on a thread and an event loop of its own.

The library does blocking work on the loop it runs on (TLS set-up at first use, token refresh), binds its HTTP client
to one loop and retries 503 by itself for up to 7 seconds; none of that may touch a host's loop. `send` hands a batch to
the thread and awaits the answer.
"""

import asyncio
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import firebase_admin
from firebase_admin import _utils, credentials, exceptions, messaging

from actors.push import payload
from actors.push.port import Outcome, Push, PushResult
from cluster.kernel.clock import Clock

HTTP_TIMEOUT_S: Final = 10
QUOTA_PAUSE_S: Final = 60.0
"""FCM asks for at least a minute after QUOTA_EXCEEDED when it names no time itself."""


class EmulatedCredential(credentials.Base):  # type: ignore[misc]
    """The credential of a stand-in FCM server: a fixed bearer token, nothing to refresh."""

    def get_credential(self) -> Any:
        return _utils.EmulatorAdminCredentials()


class FirebaseSender:
    """Sends through FCM HTTP v1. `endpoint` names a stand-in server (scheme://host:port); None is Google's own."""

    def __init__(
        self, clock: Clock, *, credentials_file: Path | None, project_id: str | None, endpoint: str | None = None
    ) -> None:
        self._clock = clock
        credential = (
            EmulatedCredential() if credentials_file is None else credentials.Certificate(str(credentials_file))
        )
        options = {"httpTimeout": HTTP_TIMEOUT_S}
        if project_id:
            options["projectId"] = project_id  # type: ignore[assignment]
        self._app = firebase_admin.initialize_app(credential, options, name=f"flow-{id(self)}")
        self._endpoint = endpoint
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="flow-push", daemon=True)
        self._thread.start()

    async def send(self, pushes: Sequence[Push]) -> list[PushResult]:
        future = asyncio.run_coroutine_threadsafe(self._send(list(pushes)), self._loop)
        return await asyncio.wrap_future(future)

    async def _send(self, pushes: list[Push]) -> list[PushResult]:
        self._service()
        sent_at_ms = self._clock.now_ms()
        messages = [payload.message(push.row, push.device, sent_at_ms) for push in pushes]
        try:
            batch = await messaging.send_each_async(messages, app=self._app)
        except (exceptions.FirebaseError, ValueError) as error:
            return [PushResult(outcome=Outcome.RETRY, error=type(error).__name__)] * len(pushes)
        return [judge(response.exception) for response in batch.responses]

    def _service(self) -> Any:
        service = messaging._get_messaging_service(self._app)  # noqa: SLF001 - the library has no setting for its address
        if self._endpoint is not None:
            project = self._app.project_id
            service._fcm_url = f"{self._endpoint}/v1/projects/{project}/messages:send"  # noqa: SLF001
        return service

    async def close(self) -> None:
        await asyncio.get_running_loop().run_in_executor(None, self._close)

    def _close(self) -> None:
        if not self._thread.is_alive():
            return
        asyncio.run_coroutine_threadsafe(self._close_client(), self._loop).result(HTTP_TIMEOUT_S)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(HTTP_TIMEOUT_S)
        self._loop.close()
        firebase_admin.delete_app(self._app)

    async def _close_client(self) -> None:
        # On the loop that opened its connections; `delete_app` closes it again elsewhere, which is then nothing.
        await self._service()._async_client.aclose()  # noqa: SLF001


def judge(error: Exception | None) -> PushResult:
    """What FCM's answer means for one push.
    Source: https://firebase.google.com/docs/reference/fcm/rest/v1/ErrorCode"""
    if error is None:
        return PushResult(outcome=Outcome.SENT)
    name = type(error).__name__
    if isinstance(error, messaging.UnregisteredError | messaging.SenderIdMismatchError):
        return PushResult(outcome=Outcome.GONE, error=name)
    if isinstance(error, messaging.QuotaExceededError):
        return PushResult(outcome=Outcome.RETRY, error=name, not_before_s=_retry_after(error) or QUOTA_PAUSE_S)
    if isinstance(error, exceptions.InvalidArgumentError):
        about_address = "registration token" in str(error).lower()
        return PushResult(outcome=Outcome.GONE if about_address else Outcome.REJECTED, error=name)
    return PushResult(outcome=Outcome.RETRY, error=name, not_before_s=_retry_after(error))


def _retry_after(error: Exception) -> float | None:
    response = getattr(error, "http_response", None)
    value = response.headers.get("Retry-After") if response is not None else None
    return float(value) if value is not None and value.isdigit() else None
