"""What stands around the HTTP interface in its tests: a router that answers by script, a recommender one can break.

Storage, tokens and passwords are never doubled: tests use the real ones.
"""

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import msgspec

from cluster.kernel.errors import UNAVAILABLE, FlowError
from cluster.kernel.ids import Key
from serve_apps.contracts import (
    Exposure,
    Filler,
    Match,
    MatchAnswer,
    MatchRequest,
    RecommendationAnswer,
    RecommendationRequest,
    ScoredEvent,
    SimilarRequest,
)

T = TypeVar("T", bound=msgspec.Struct)


class Sent(NamedTuple):
    user_id: str
    key: str
    name: str
    body: msgspec.Struct


class ScriptedRouter:
    """Answers each command by name with what the test put into `answers`: a reply, an error, or a function of the
    command. What is sent is kept in order."""

    def __init__(self) -> None:
        self.answers: dict[str, Any] = {}
        self.sent: list[Sent] = []
        self._more = asyncio.Event()

    async def command(
        self,
        user_id: str,
        key: Key,
        name: str,
        body: msgspec.Struct,
        reply: type[T],
        *,
        timeout_s: float | None = None,
        connection: str = "",
        watch: bool = False,
    ) -> T:
        sent = Sent(user_id, str(key), name, body)
        self.sent.append(sent)
        self._more.set()
        answer = self.answers.get(name, FlowError(UNAVAILABLE))
        if isinstance(answer, Callable):
            answer = answer(sent)
        if isinstance(answer, FlowError):
            raise answer
        assert isinstance(answer, reply), f"{name} was answered with {answer!r}, the handler wants {reply}"
        return answer

    async def wait_for(self, name: str, count: int = 1) -> list[Sent]:
        """The commands of that name, once there are at least `count`."""
        async with asyncio.timeout(10):
            while len(self.of(name)) < count:
                self._more.clear()
                await self._more.wait()
        return self.of(name)

    def of(self, name: str) -> list[Sent]:
        return [sent for sent in self.sent if sent.name == name]


class ScriptedRecommender:
    """Recommends what it was given; or raises, or is as late as the caller lets it be."""

    def __init__(self) -> None:
        self.events: list[tuple[str, float]] = []
        self.error: BaseException | None = None
        self.is_late = False
        self.requests: list[RecommendationRequest] = []
        self.matches: list[MatchRequest] = []
        self.asked_similar: list[SimilarRequest] = []
        self.exposures: tuple[Exposure, ...] = ()
        self.fillers: dict[str, Filler] = {}

    async def recommend(self, request: RecommendationRequest) -> RecommendationAnswer:
        self.requests.append(request)
        if self.is_late:
            await asyncio.Event().wait()
        if self.error is not None:
            raise self.error
        events = tuple(
            ScoredEvent(event_id, score, filler=self.fillers.get(event_id)) for event_id, score in self.events
        )
        return RecommendationAnswer(events=events, model_version="2026-01-01", exposures=self.exposures)

    async def similar(self, request: SimilarRequest) -> RecommendationAnswer:
        self.asked_similar.append(request)
        if self.error is not None:
            raise self.error
        events = tuple(ScoredEvent(event_id, score, (), ("Both are loud.",)) for event_id, score in self.events)
        return RecommendationAnswer(events=events, model_version="2026-01-01")

    async def match(self, request: MatchRequest) -> MatchAnswer:
        """The fewer interests told, the better: an order anybody can check by hand."""
        self.matches.append(request)
        if self.error is not None:
            raise self.error
        scored = [Match(user_id=one.user_id, score=1 / (1 + len(one.interests))) for one in request.others]
        scored.sort(key=lambda match: -match.score)
        return MatchAnswer(matches=tuple(scored[: request.limit]), matcher="scripted")

    async def status(self) -> dict[str, Any]:
        return {"live": True, "modelVersion": "2026-01-01"}


class CountedMetrics:
    """The numbers themselves instead of a registry."""

    def __init__(self) -> None:
        self.requests: Counter[tuple[str, str, int]] = Counter()
        self.recommended: Counter[str] = Counter()

    def observe_http(self, method: str, route: str, status: int, seconds: float) -> None:
        assert seconds >= 0
        self.requests[method, route, status] += 1

    def count_recommendations(self, kind: str, count: int) -> None:
        self.recommended[kind] += count

    def render(self) -> bytes:
        return b"# HELP flow_requests Requests.\n"
