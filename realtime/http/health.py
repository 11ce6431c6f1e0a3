"""Is it alive and is it ready: what load balancers and orchestrators ask.

Open to everybody, because those that ask have no token; the answers hold no personal data. Liveness does no I/O.
Readiness asks the database at most once a second, however many ask.
"""

import asyncio
from typing import Final, Literal

from cluster.kernel.errors import UNAVAILABLE, FlowError
from realtime.http.context import ApiContext, Readiness
from realtime.http.fields import Answer, Nothing
from realtime.http.operations import AnyOperation, Call, Operation

PING_TTL_S: Final = 1.0
PING_TIMEOUT_S: Final = 1.0
_RETRY_MS: Final = 1_000


class Alive(Answer, frozen=True):
    """The process answers."""

    status: Literal["alive"]
    version: str


class Ready(Answer, frozen=True):
    """Everything that is needed is there. `parts` says so of each; a host that is being replaced shows here too."""

    status: Literal["ready"]
    parts: dict[str, str]


async def alive(call: Call[Nothing, Nothing]) -> Alive:
    return Alive(status="alive", version=call.context.version)


class ReadinessProbe:
    """Whether this edge can do its work: the database answers, it reaches a host, and it neither drains nor sheds.

    One host of several being away does not make an edge unready: its share of the rooms is about to move, and taking
    every edge out of service for it would be the worse outage.
    """

    def __init__(self, context: ApiContext) -> None:
        self._context = context
        self._asking = asyncio.Lock()
        self._asked_at: float | None = None
        self._storage_answers = False

    async def ready(self, call: Call[Nothing, Nothing]) -> Ready:
        """Raises FlowError UNAVAILABLE; its `fields` name the parts that are not there."""
        known = self._context.readiness()
        wrong: dict[str, str] = {}
        if not await self._ask_storage():
            wrong["storage"] = "the database does not answer"
        if known.hosts_linked == 0:
            wrong["hosts"] = "no host is linked"
        if known.draining:
            wrong["edge"] = "the edge is draining"
        elif known.overloaded:
            wrong["edge"] = f"the edge is at its limit ({', '.join(known.overloaded)})"
        if wrong:
            detail = f"Not ready: {', '.join(wrong.values())}."
            raise FlowError(UNAVAILABLE, detail, retry_after_ms=_RETRY_MS, fields=tuple(wrong))
        return Ready(status="ready", parts={"storage": "ok", "hosts": _hosts(known), "edge": "ok"})

    async def _ask_storage(self) -> bool:
        async with self._asking:
            now = self._context.clock.monotonic()
            if self._asked_at is None or now - self._asked_at >= PING_TTL_S:
                self._storage_answers = await self._ping()
                self._asked_at = now
            return self._storage_answers

    async def _ping(self) -> bool:
        try:
            async with asyncio.timeout(PING_TIMEOUT_S):
                await self._context.storage.ping()
        except (FlowError, TimeoutError):
            return False
        return True


def _hosts(known: Readiness) -> str:
    return "ok" if known.hosts_linked >= known.hosts_expected else f"{known.hosts_linked} of {known.hosts_expected}"


def operations(context: ApiContext) -> tuple[AnyOperation, ...]:
    return (
        Operation(
            method="GET",
            path="/healthz",
            summary="The process is alive.",
            tag="Health",
            handle=alive,
            body=Nothing,
            query=Nothing,
            reply=Alive,
            access="public",
        ),
        Operation(
            method="GET",
            path="/readyz",
            summary="The server can do its work; 503 says which part cannot.",
            tag="Health",
            handle=ReadinessProbe(context).ready,
            body=Nothing,
            query=Nothing,
            reply=Ready,
            access="public",
        ),
    )
