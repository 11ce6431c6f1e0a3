"""Asks the Ray Serve application for recommendations: the implementation of `contracts.Recommender`.

Owned by an edge, used from its event loop. It promises an answer or a FlowError within the request's deadline, whatever
Serve does: the handle is obtained in a thread (Serve's getters block), calls in flight are bounded, and after failures
in a row a breaker answers UNAVAILABLE at once. The application may start, stop and start again at any time.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

import msgspec
from ray import serve
from ray.exceptions import RayActorError, RayError
from ray.serve import context as serve_context
from ray.serve.exceptions import BackPressureError, RayServeException

from cluster.kernel.clock import Clock, SystemClock
from cluster.kernel.errors import DEADLINE_EXCEEDED, OVERLOADED, UNAVAILABLE, FlowError
from serve_apps.breaker import Breaker
from serve_apps.contracts import (
    RECOMMENDER_APPLICATION,
    RecommendationAnswer,
    RecommendationReply,
    RecommendationRequest,
)

STATUS_SECONDS = 1.0
_FAILURES = (RayError, RayServeException, ConnectionError, RuntimeError, KeyError)
"""What Ray and Serve raise when the application, its controller or the whole cluster is away."""


class Response(Awaitable[Any], Protocol):
    """A call that was sent; `cancel` never waits."""

    def cancel(self) -> None: ...


class Handle(Protocol):
    """The application's two methods; calling one sends at once and never blocks."""

    def recommend(self, request: bytes) -> Response: ...

    def status(self) -> Response: ...


class ServeHandle:
    """The application's deployment handle. Making one blocks: Serve asks its controller and starts a router."""

    def __init__(self, application: str = RECOMMENDER_APPLICATION) -> None:
        try:
            handle = serve.get_app_handle(application)
        except RayActorError:
            # Serve keeps its client and all handles beyond its controller's end; a new controller needs new ones.
            serve_context._disconnect()  # type: ignore[no-untyped-call]  # noqa: SLF001
            handle = serve.get_app_handle(application)
        self._recommend = handle.recommend
        self._status = handle.status

    def recommend(self, request: bytes) -> Response:
        response: Response = self._recommend.remote(request)
        return response

    def status(self) -> Response:
        response: Response = self._status.remote()
        return response


class ServeRecommender:
    """`max_outstanding` bounds the calls in flight; `obtain` makes a handle and may block."""

    def __init__(
        self,
        obtain: Callable[[], Handle] = ServeHandle,
        *,
        max_outstanding: int = 64,
        clock: Clock | None = None,
    ) -> None:
        self._obtain = obtain
        self._max_outstanding = max_outstanding
        self._breaker = Breaker(clock or SystemClock())
        self._encoder = msgspec.msgpack.Encoder()
        self._decoder = msgspec.msgpack.Decoder(RecommendationReply)
        self._handle: Handle | None = None
        self._obtaining: asyncio.Future[Handle] | None = None
        self._outstanding = 0
        self._counts = {"answered": 0, "late": 0, "failed": 0, "refused": 0}

    async def recommend(self, request: RecommendationRequest) -> RecommendationAnswer:
        """See `contracts.Recommender`."""
        if self._outstanding >= self._max_outstanding:
            self._counts["refused"] += 1
            raise FlowError(OVERLOADED, "Too many recommendations are being computed.", retry_after_ms=100)
        if not self._breaker.try_enter():
            self._counts["refused"] += 1
            raise FlowError(
                UNAVAILABLE, "The recommender failed a moment ago.", retry_after_ms=self._breaker.remaining_ms()
            )
        self._outstanding += 1
        try:
            content = await self._call(
                lambda handle: handle.recommend(self._encoder.encode(request)), request.deadline_ms / 1000
            )
        finally:
            self._outstanding -= 1
        try:
            reply = self._decoder.decode(content)
        except (msgspec.MsgspecError, TypeError) as error:
            raise FlowError(UNAVAILABLE, "The recommender sent a reply of another form.") from error
        if reply.error is not None:
            raise FlowError.from_wire(reply.error)
        if reply.answer is None:
            raise FlowError(UNAVAILABLE, "The recommender sent an empty reply.")
        self._counts["answered"] += 1
        return reply.answer

    async def status(self) -> dict[str, Any]:
        """See `contracts.Recommender`; `problem` says why nothing is known of the model."""
        if not self._breaker.try_enter():
            return {"live": False, "modelVersion": None, "problem": "The recommender failed a moment ago."}
        try:
            found: dict[str, Any] = await self._call(lambda handle: handle.status(), STATUS_SECONDS)
        except FlowError as error:
            return {"live": False, "modelVersion": None, "problem": error.message}
        return found

    def statistics(self) -> dict[str, Any]:
        return {"outstanding": self._outstanding, **self._counts, **self._breaker.statistics()}

    async def _call(self, send: Callable[[Handle], Response], seconds: float) -> Any:
        """One entered attempt: its end is told to the breaker, whatever it is."""
        response: Response | None = None
        try:
            async with asyncio.timeout(seconds):
                response = send(await self._obtained())
                result = await response
        except TimeoutError:
            self._counts["late"] += 1
            self._fail(response)
            raise FlowError(DEADLINE_EXCEEDED, "The recommender did not answer in time.") from None
        except BackPressureError as error:
            self._breaker.abandoned()
            raise FlowError(OVERLOADED, "The recommender is at its limit.", retry_after_ms=100) from error
        except _FAILURES as error:
            self._counts["failed"] += 1
            self._fail(response)
            raise FlowError(UNAVAILABLE, "The recommender is away.", retry_after_ms=1_000) from error
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                self._breaker.abandoned()
                _cancel(response)
                raise
            self._counts["failed"] += 1
            self._fail(response)  # Serve cancels what waits for a replica of an application that goes away
            raise FlowError(UNAVAILABLE, "The recommender is going away.", retry_after_ms=1_000) from error
        self._breaker.succeeded()
        return result

    def _fail(self, response: Response | None) -> None:
        """Failures in a row make the handle suspect: the application may have come back as another one."""
        _cancel(response)
        self._breaker.failed()
        if self._breaker.is_open:
            self._handle = None

    async def _obtained(self) -> Handle:
        """The handle; whoever comes while it is being obtained waits for the same attempt."""
        if self._handle is not None:
            return self._handle
        if self._obtaining is None:
            self._obtaining = asyncio.get_running_loop().run_in_executor(None, self._obtain)
            self._obtaining.add_done_callback(self._settle)
        return await asyncio.shield(self._obtaining)

    def _settle(self, obtaining: "asyncio.Future[Handle]") -> None:
        self._obtaining = None
        if not obtaining.cancelled() and obtaining.exception() is None:
            self._handle = obtaining.result()


def _cancel(response: Response | None) -> None:
    """Nobody waits for it any longer, so the replica need not work on it."""
    if response is not None:
        response.cancel()
