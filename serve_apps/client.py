"""Asks the Ray Serve application: the implementation of `contracts.Recommender`.

Owned by an edge, used from its event loop. It promises an answer or a FlowError within the request's deadline, whatever
Serve does. Requests travel together: few calls are under way at once, and whoever comes meanwhile leaves with the next
one, so that a busy replica gets batches and a call's own cost is shared. What waits is bounded. After failures in a row
a breaker answers UNAVAILABLE at once; a late answer counts as a failure only when nothing else was answered meanwhile,
because a replica that is busy is not one that is away. The application may start, stop and start again at any time.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import msgspec
from ray.exceptions import RayError
from ray.serve.exceptions import BackPressureError, RayServeException

from cluster.kernel.clock import Clock, SystemClock
from cluster.kernel.errors import DEADLINE_EXCEEDED, OVERLOADED, UNAVAILABLE, FlowError
from cluster.kernel.tasks import TaskOwner
from serve_apps.breaker import Breaker
from serve_apps.contracts import (
    MatchAnswer,
    MatchRequest,
    RecommendationAnswer,
    RecommendationReply,
    RecommendationRequest,
    SimilarRequest,
)
from serve_apps.serve_handle import Handle, Method, Response, ServeHandle

T = TypeVar("T")

STATUS_SECONDS: Final = 1.0
BATCH: Final = 16
CALLS: Final = 4
"""Calls under way at once: about two for each of two replicas, so that one is computed while the next one travels."""
EAGER_CALLS: Final = 2
"""So many leave with whoever waits; the others only full: a full batch costs each of its requests the least."""
_ADAPTS: Final = 0.1
"""The share that one call has in how long a call usually takes."""
_LIKELY: Final = 0.8
"""Who has less time left than this part of what a call usually takes is not waited for."""
_FAILURES = (RayError, RayServeException, ConnectionError, RuntimeError, KeyError)
"""What Ray and Serve raise when the application, its controller or the whole cluster is away."""


@dataclass(slots=True, eq=False)
class _Waiting:
    """One request. `until` is the monotonic second at which its caller stops waiting."""

    content: bytes
    until: float
    reply: "asyncio.Future[bytes]"
    call: "asyncio.Task[None] | None" = None
    beside: "list[_Waiting] | None" = None

    def abandon(self) -> None:
        """The caller is gone; a call that nobody waits for any longer need not be worked on."""
        if self.call is not None and self.beside is not None and all(one.reply.done() for one in self.beside):
            self.call.cancel()


class ServeRecommender:
    """`max_outstanding` bounds the requests that wait or are under way; `obtain` makes a handle and may block."""

    def __init__(
        self,
        obtain: Callable[[], Handle] = ServeHandle,
        *,
        max_outstanding: int = 128,
        clock: Clock | None = None,
    ) -> None:
        self._obtain = obtain
        self._max_outstanding = max_outstanding
        self._clock = clock or SystemClock()
        self._breaker = Breaker(self._clock)
        self._encoder = msgspec.msgpack.Encoder()
        self._decoder = msgspec.msgpack.Decoder(RecommendationReply)
        self._handle: Handle | None = None
        self._obtaining: asyncio.Future[Handle] | None = None
        self._waiting: dict[Method, deque[_Waiting]] = {"recommend": deque(), "similar": deque(), "match": deque()}
        self._tasks = TaskOwner("recommender.calls", limit=CALLS)
        self._outstanding = 0
        self._is_closed = False
        self._answered = 0
        self._usual_s = 0.0
        self._counts = {"answered": 0, "late": 0, "failed": 0, "refused": 0, "calls": 0}

    async def recommend(self, request: RecommendationRequest) -> RecommendationAnswer:
        """See `contracts.Recommender`."""
        reply = await self._ask("recommend", request, request.deadline_ms)
        return _given(reply.answer)

    async def similar(self, request: SimilarRequest) -> RecommendationAnswer:
        """See `contracts.Recommender`."""
        reply = await self._ask("similar", request, request.deadline_ms)
        return _given(reply.answer)

    async def match(self, request: MatchRequest) -> MatchAnswer:
        """See `contracts.Recommender`."""
        reply = await self._ask("match", request, request.deadline_ms)
        return _given(reply.matches)

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
        return {
            "outstanding": self._outstanding,
            "waiting": sum(map(len, self._waiting.values())),
            **self._counts,
            **self._breaker.statistics(),
        }

    async def close(self) -> None:
        """Whoever still waits is told that the recommender is going away."""
        self._is_closed = True
        for waiting in self._waiting.values():
            _settle(list(waiting), FlowError(UNAVAILABLE, "The recommender is going away."))
        await self._tasks.stop()

    async def _ask(self, method: Method, request: msgspec.Struct, deadline_ms: int) -> RecommendationReply:
        if self._outstanding >= self._max_outstanding:
            self._counts["refused"] += 1
            raise FlowError(OVERLOADED, "Too many recommendations are being computed.", retry_after_ms=100)
        if not self._breaker.try_enter():
            self._counts["refused"] += 1
            raise FlowError(
                UNAVAILABLE, "The recommender failed a moment ago.", retry_after_ms=self._breaker.remaining_ms()
            )
        seconds = deadline_ms / 1000
        loop = asyncio.get_running_loop()
        one = _Waiting(self._encoder.encode(request), self._clock.monotonic() + seconds, loop.create_future())
        self._outstanding += 1
        try:
            self._waiting[method].append(one)
            self._send()
            async with asyncio.timeout(seconds):
                content = await one.reply
        except TimeoutError:
            self._counts["late"] += 1
            raise FlowError(DEADLINE_EXCEEDED, "The recommender did not answer in time.") from None
        except FlowError as error:
            self._counts["late"] += error.kind is DEADLINE_EXCEEDED  # the call's own time was up first
            raise
        except asyncio.CancelledError:
            one.reply.cancel()
            one.abandon()
            raise
        finally:
            self._outstanding -= 1
            one.reply.cancel()
            if one in self._waiting[method]:
                self._waiting[method].remove(one)
                self._breaker.abandoned()
        return self._read(content)

    def _read(self, content: bytes) -> RecommendationReply:
        try:
            reply = self._decoder.decode(content)
        except (msgspec.MsgspecError, TypeError) as error:
            raise FlowError(UNAVAILABLE, "The recommender sent a reply of another form.") from error
        if reply.error is not None:
            raise FlowError.from_wire(reply.error)
        self._counts["answered"] += 1
        return reply

    def _send(self) -> None:
        """Start calls while there is something to send and not too many are under way."""
        while not self._is_closed and len(self._tasks) < CALLS:
            method = max(self._waiting, key=lambda name: len(self._waiting[name]))
            waiting = self._waiting[method]
            if not waiting:
                return
            if len(self._tasks) >= EAGER_CALLS and len(waiting) < BATCH:
                return
            batch = self._in_time([waiting.popleft() for _ in range(min(BATCH, len(waiting)))])
            if not batch:
                continue
            task = self._tasks.start(method, self._carry(method, batch))
            for one in batch:
                one.call, one.beside = task, batch
            task.add_done_callback(lambda _, batch=batch: self._ended(batch))  # type: ignore[misc]

    def _ended(self, batch: list[_Waiting]) -> None:
        """A call that was cancelled, perhaps before it began, leaves nobody waiting."""
        _settle(batch, FlowError(UNAVAILABLE, "The recommender is going away.", retry_after_ms=1_000))
        self._send()

    async def _carry(self, method: Method, batch: list[_Waiting]) -> None:
        """One call for several requests; each of them is answered or fails as the call does."""
        now = self._clock.monotonic()
        seconds = max(one.until for one in batch) - now
        contents = [one.content for one in batch]
        self._counts["calls"] += 1
        try:
            replies = await self._call(lambda handle: handle.ask(method, contents), max(0.001, seconds))
            if not isinstance(replies, list) or len(replies) != len(batch):
                raise FlowError(UNAVAILABLE, "The recommender sent a reply of another form.")
        except FlowError as error:
            if error.kind is DEADLINE_EXCEEDED:
                self._learn(self._clock.monotonic() - now)
            _settle(batch, error)
            return
        self._learn(self._clock.monotonic() - now)
        for one, reply in zip(batch, replies, strict=True):
            if not one.reply.done():
                one.reply.set_result(reply)

    def _learn(self, took_s: float) -> None:
        self._usual_s += _ADAPTS * (took_s - self._usual_s)

    def _in_time(self, batch: list[_Waiting]) -> list[_Waiting]:
        """Those that are likely to be answered in time; a replica is spared the work of the others."""
        now = self._clock.monotonic()
        if len(self._tasks) == 0:
            return batch  # somebody has to find out whether it is still so slow
        late = [one for one in batch if one.until - now < _LIKELY * self._usual_s]
        if late:
            self._breaker.abandoned()
            _settle(late, FlowError(DEADLINE_EXCEEDED, "The recommender would not answer in time."))
        return [one for one in batch if not one.reply.done()]

    async def _call(self, send: Callable[[Handle], Response], seconds: float) -> Any:
        """One entered attempt: its end is told to the breaker, whatever it is."""
        response: Response | None = None
        answered = self._answered
        try:
            async with asyncio.timeout(seconds):
                response = send(await self._obtained())
                result = await response
        except TimeoutError:
            _cancel(response)
            if self._answered == answered:
                self._fail(response)
            else:
                self._breaker.abandoned()
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
        self._answered += 1
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
            self._obtaining.add_done_callback(self._settle_handle)
        return await asyncio.shield(self._obtaining)

    def _settle_handle(self, obtaining: "asyncio.Future[Handle]") -> None:
        self._obtaining = None
        if not obtaining.cancelled() and obtaining.exception() is None:
            self._handle = obtaining.result()


def _given(part: T | None) -> T:
    if part is None:
        raise FlowError(UNAVAILABLE, "The recommender sent an empty reply.")
    return part


def _settle(batch: list[_Waiting], failure: BaseException) -> None:
    for one in batch:
        if not one.reply.done():
            one.reply.set_exception(failure)


def _cancel(response: Response | None) -> None:
    """Nobody waits for it any longer, so the replica need not work on it."""
    if response is not None:
        response.cancel()
