"""What the handlers of all namespaces share: the services they may use, how they answer, and `auth:refresh`.

A handler gets a connection that was admitted, its person, and a payload that was parsed; it returns what to answer or
raises FlowError. Before its first await it has put its command in line, so a connection's commands keep their order.
Most events are one command and its answer; the handlers of these, questioners, only say which command.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

import msgspec

from actors.messages import Delivery
from cluster.kernel.clock import Clock
from cluster.kernel.ids import Key, topic_key
from cluster.kernel.tasks import TaskOwner
from realtime.auth import TokenService
from realtime.deliveries import Deliveries
from realtime.engine.port import Connection
from realtime.limits import EdgeLimits
from realtime.offsets import PidSigner
from realtime.protocol import ConnectRequest, RefreshRequest
from realtime.router import Router
from realtime.sockets import Person
from realtime.subscriptions import Subscriptions
from storage.ports import Users

T = TypeVar("T", bound=msgspec.Struct)


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """What handlers may use."""

    router: Router
    subscriptions: Subscriptions[Connection]
    tokens: TokenService
    users: Users
    limits: EdgeLimits
    clock: Clock
    tasks: TaskOwner
    deliveries: Deliveries
    pids: PidSigner
    resuming: asyncio.Semaphore
    """One place for each room that is being asked on behalf of somebody who comes back."""
    acted: Callable[[str], Awaitable[None]]
    """Called with a person's id when something the person did with an event is durable."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What to answer with, and what the connection gets right after it."""

    body: dict[str, Any]
    backlog: Sequence[Delivery] = ()


Handler = Callable[[Services, Connection, Person, Any], Awaitable[Answer]]


class Question(NamedTuple):
    """What an event comes to when it is one command to an actor and the answer to it: it needs no task."""

    key: Key
    name: str
    body: msgspec.Struct
    reply: type[Any]
    answer: Callable[[Any], dict[str, Any]]
    """The body of the answer, from the actor's reply."""


Questioner = Callable[[Services, Connection, Person, Any], Question]
"""A handler that waits for nothing else; raises FlowError as others do."""


def nothing(reply: Any) -> dict[str, Any]:
    """The answer to what is done and no more."""
    return {}


Afterwards = Callable[[], Coroutine[Any, Any, None]]

Admit = Callable[[Services, Connection, Person, ConnectRequest], Awaitable[Afterwards | None]]
"""Called when a connection is being admitted to a namespace; may raise FlowError to refuse it. What it returns is begun
once the client has been told that it is connected."""


async def join(
    services: Services,
    connection: Connection,
    person: Person,
    key: Key,
    name: str,
    body: msgspec.Struct,
    reply: type[T],
    position: Callable[[T], tuple[int, int]],
    *,
    limit: int | None = None,
    as_connection: str | None = None,
    timeout_s: float | None = None,
) -> tuple[T, Sequence[Delivery]]:
    """Send a command that watches `key`; its answer, and the deliveries to send the connection right after it."""
    ticket = services.subscriptions.begin_join(connection, str(key), limit)
    try:
        answer = await services.router.command(
            person.user_id,
            key,
            name,
            body,
            reply,
            timeout_s=timeout_s,
            connection=connection.id if as_connection is None else as_connection,
            watch=True,
        )
    except BaseException:  # cancelled or refused alike, the ticket must be given back
        services.subscriptions.fail(ticket)
        raise
    return answer, services.subscriptions.complete(ticket, *position(answer))


async def refresh(services: Services, connection: Connection, person: Person, request: RefreshRequest) -> Answer:
    """auth:refresh: a newer token for the whole socket."""
    person.socket.renew(services.tokens.verify(request.token))
    return Answer({"expiresAt": person.socket.expires_at_ms})


__all__ = [
    "Admit",
    "Afterwards",
    "Answer",
    "Handler",
    "Question",
    "Questioner",
    "Services",
    "join",
    "nothing",
    "refresh",
    "topic_key",
]
