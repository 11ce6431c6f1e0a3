"""The client: an answer or a typed error in time, whatever the application does."""

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from ray.exceptions import RayError
from ray.serve.exceptions import BackPressureError, RayServeException

from cluster.kernel.clock import ManualClock
from cluster.kernel.errors import DEADLINE_EXCEEDED, INVALID_REQUEST, OVERLOADED, UNAVAILABLE, ErrorKind, FlowError
from serve_apps.client import BATCH, CALLS, EAGER_CALLS, ServeRecommender
from serve_apps.contracts import RecommendationAnswer, RecommendationReply, RecommendationRequest, ScoredEvent

ANSWER = RecommendationAnswer(events=(ScoredEvent("e", 0.5),), model_version="v1")


class Call:
    """A sent call: settled by the test, or never."""

    def __init__(self, outcome: "asyncio.Future[Any]") -> None:
        self.outcome = outcome
        self.cancelled = False

    def __await__(self) -> Any:
        return self.outcome.__await__()

    def cancel(self) -> None:
        self.cancelled = True


class Application:
    """A handle whose calls end as `result` says: a value is returned, an exception raised, None never ends."""

    def __init__(self, result: Any = None) -> None:
        self.result = msgspec.msgpack.encode(RecommendationReply(answer=ANSWER)) if result is None else result
        self.calls: list[Call] = []
        self.requests: list[RecommendationRequest] = []
        self.sizes: list[int] = []

    def ask(self, method: str, requests: list[bytes]) -> Call:
        assert method == "recommend"
        self.requests += [msgspec.msgpack.decode(request, type=RecommendationRequest) for request in requests]
        self.sizes.append(len(requests))
        return self._call(len(requests))

    def status(self) -> Call:
        return self._call(None)

    def _call(self, count: int | None) -> Call:
        outcome: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        if isinstance(self.result, BaseException):
            outcome.set_exception(self.result)
        elif self.result is not NEVER:
            outcome.set_result(self.result if count is None else [self.result] * count)
        self.calls.append(Call(outcome))
        return self.calls[-1]


NEVER = object()
GOOD = msgspec.msgpack.encode(RecommendationReply(answer=ANSWER))


async def until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not is_so():  # noqa: ASYNC110 - nothing to wait on but the loop itself
            await asyncio.sleep(0)


def request(deadline_ms: int = 5_000) -> RecommendationRequest:
    return RecommendationRequest(user_id="u", limit=3, deadline_ms=deadline_ms)


async def refused(client: ServeRecommender, kind: ErrorKind, deadline_ms: int = 5_000) -> FlowError:
    with pytest.raises(FlowError) as caught:
        await client.recommend(request(deadline_ms))
    assert caught.value.kind is kind
    return caught.value


async def test_an_answer_arrives_whole() -> None:
    application = Application()
    client = ServeRecommender(lambda: application)
    assert await client.recommend(request()) == ANSWER
    assert application.requests == [request()]
    assert not application.calls[0].cancelled


async def test_an_answer_that_never_comes_is_given_up_and_cancelled() -> None:
    application = Application()
    client = ServeRecommender(lambda: application)
    await client.recommend(request())  # it has its handle: the deadline is the call's alone
    application.result = NEVER
    await refused(client, DEADLINE_EXCEEDED, deadline_ms=10)
    await until(lambda: application.calls[1].cancelled)
    assert client.statistics()["late"] == 1
    assert client.statistics()["failuresInARow"] == 1
    assert client.statistics()["outstanding"] == 0


async def test_a_handle_that_takes_long_blocks_neither_the_loop_nor_the_deadline() -> None:
    """The deadline passes while the getter still sits in its thread; the handle serves whoever comes after."""
    release = threading.Event()

    def obtain() -> Application:
        assert release.wait(30)
        return Application()

    client = ServeRecommender(obtain)
    try:
        await refused(client, DEADLINE_EXCEEDED, deadline_ms=10)
    finally:
        release.set()
    assert await client.recommend(request()) == ANSWER


async def test_one_attempt_obtains_the_handle_for_all_who_wait() -> None:
    obtained: list[Application] = []

    def obtain() -> Application:
        obtained.append(Application())
        return obtained[-1]

    client = ServeRecommender(obtain)
    assert await asyncio.gather(*(client.recommend(request()) for _ in range(10))) == [ANSWER] * 10
    assert len(obtained) == 1


async def test_an_application_that_starts_later_is_found() -> None:
    found: list[Application] = []
    clock = ManualClock()

    def obtain() -> Application:
        if not found:
            raise RayServeException("Application 'recommender' does not exist.")
        return found[0]

    client = ServeRecommender(obtain, clock=clock)
    await refused(client, UNAVAILABLE)
    assert await client.status() == {"live": False, "modelVersion": None, "problem": "The recommender is away."}
    found.append(Application())
    assert await client.recommend(request()) == ANSWER


@pytest.mark.parametrize("failure", [RayError("gone"), RayServeException("gone"), asyncio.CancelledError()])
async def test_after_failures_in_a_row_it_refuses_at_once_then_tries_again(failure: BaseException) -> None:
    clock = ManualClock()
    application = Application(failure)
    handles = [application]
    client = ServeRecommender(lambda: handles[-1], clock=clock)
    for _ in range(3):
        await refused(client, UNAVAILABLE)
    error = await refused(client, UNAVAILABLE)
    assert error.to_wire()["retryAfterMs"] == 1_000
    assert len(application.calls) == 3
    handles.append(Application())  # the application came back as another one
    clock.advance(1)
    assert await client.recommend(request()) == ANSWER


async def test_no_more_than_the_limit_are_outstanding() -> None:
    application = Application(NEVER)
    client = ServeRecommender(lambda: application, max_outstanding=2)
    waiting = [asyncio.ensure_future(client.recommend(request())) for _ in range(2)]
    await until(lambda: sum(application.sizes) == 2)
    await refused(client, OVERLOADED)
    for call, size in zip(application.calls, application.sizes, strict=True):
        call.outcome.set_result([GOOD] * size)
    assert await asyncio.gather(*waiting) == [ANSWER] * 2
    assert client.statistics()["outstanding"] == 0


async def test_a_refusal_of_the_application_is_passed_on_and_is_no_failure() -> None:
    for error in (FlowError(UNAVAILABLE, "No model is live yet."), FlowError(INVALID_REQUEST, "limit")):
        reply = msgspec.msgpack.encode(RecommendationReply(error=error.to_wire()))
        client = ServeRecommender(lambda reply=reply: Application(reply))  # type: ignore[misc]
        for _ in range(5):
            assert (await refused(client, error.kind)).message == error.message


async def test_a_full_application_is_overloaded_not_broken() -> None:
    client = ServeRecommender(lambda: Application(BackPressureError(num_queued_requests=9, max_queued_requests=9)))
    for _ in range(5):
        await refused(client, OVERLOADED)


async def test_cancelling_the_caller_cancels_the_call_and_is_no_failure() -> None:
    application = Application(NEVER)
    client = ServeRecommender(lambda: application)
    asking = asyncio.ensure_future(client.recommend(request()))
    await until(lambda: bool(application.calls))
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    await until(lambda: application.calls[0].cancelled)
    assert client.statistics() == client.statistics() | {"outstanding": 0, "failuresInARow": 0}


async def test_status_is_what_the_replica_says() -> None:
    client = ServeRecommender(lambda: Application({"live": True, "modelVersion": "v1"}))
    assert await client.status() == {"live": True, "modelVersion": "v1"}


async def test_whoever_comes_while_calls_are_under_way_leaves_together() -> None:
    """A batch that is not full waits while the eager calls are under way; full ones leave until there are `CALLS`."""
    application = Application(NEVER)
    client = ServeRecommender(lambda: application)
    first: list[asyncio.Future[RecommendationAnswer]] = []
    for _ in range(EAGER_CALLS):
        first.append(asyncio.ensure_future(client.recommend(request())))
        await until(lambda: len(application.calls) == len(first))
    later = [asyncio.ensure_future(client.recommend(request())) for _ in range((CALLS - EAGER_CALLS) * BATCH + 3)]
    await until(lambda: len(application.calls) == CALLS and client.statistics()["waiting"] == 3)
    assert application.sizes == [1] * EAGER_CALLS + [BATCH] * (CALLS - EAGER_CALLS)
    application.result = GOOD
    for call, size in zip(application.calls[:CALLS], application.sizes, strict=True):
        call.outcome.set_result([GOOD] * size)
    assert await asyncio.gather(*later, *first) == [ANSWER] * (len(later) + len(first))
    assert application.sizes[CALLS:] == [3]


async def test_a_replica_is_spared_those_who_would_be_late() -> None:
    clock = ManualClock()
    application = Application(NEVER)
    client = ServeRecommender(lambda: application, clock=clock)
    for _ in range(40):  # until it is known that a call takes four seconds
        asked = asyncio.ensure_future(client.recommend(request()))
        await until(lambda: len(application.calls) > 0 and not application.calls[-1].outcome.done())
        clock.advance(4.0)
        application.calls[-1].outcome.set_result([GOOD])
        assert await asked == ANSWER
    calls = len(application.calls)
    patient = asyncio.ensure_future(client.recommend(request()))
    await until(lambda: len(application.calls) == calls + 1)
    await refused(client, DEADLINE_EXCEEDED, deadline_ms=2_000)
    assert len(application.calls) == calls + 1
    assert client.statistics()["late"] == 1
    application.calls[-1].outcome.set_result([GOOD])
    assert await patient == ANSWER
    application.result = GOOD  # nothing is under way: whether it is still so slow is found out
    assert await client.recommend(request(deadline_ms=2_000)) == ANSWER


async def test_being_late_while_others_are_answered_is_no_failure() -> None:
    """A busy replica is not one that is away: the breaker stays shut at saturation."""
    application = Application(NEVER)
    client = ServeRecommender(lambda: application)
    for _ in range(5):
        slow = asyncio.ensure_future(refused(client, DEADLINE_EXCEEDED, deadline_ms=30))
        await until(lambda: client.statistics()["outstanding"] == 1)
        await until(lambda: len(application.calls) % 2 == 1)
        application.result = GOOD
        assert await client.recommend(request()) == ANSWER
        application.result = NEVER
        await slow
        await until(lambda: application.calls[-2].cancelled)
    assert client.statistics()["failuresInARow"] == 0


@pytest.mark.parametrize("reply", [[], [b""], None, [GOOD, GOOD]])
async def test_replies_of_another_form_are_refused(reply: object) -> None:
    application = Application(NEVER)
    client = ServeRecommender(lambda: application)
    asking = asyncio.ensure_future(refused(client, UNAVAILABLE))
    await until(lambda: bool(application.calls))
    application.calls[0].outcome.set_result(reply)
    await asking


async def test_closing_tells_whoever_waits() -> None:
    application = Application(NEVER)
    client = ServeRecommender(lambda: application)
    asking = [asyncio.ensure_future(refused(client, UNAVAILABLE)) for _ in range(CALLS * BATCH + 2)]
    await until(lambda: client.statistics()["outstanding"] == len(asking))
    await client.close()
    await asyncio.gather(*asking)
