"""/chat, for those who come back: the rooms they were in and exactly what they missed there, without a further request.

Two ways. `since` in the `auth` payload names rooms and positions: after CONNECT each is joined again and answered with
`chat:resumed`. Socket.IO's connection state recovery asks nothing of the official client, and `recover: true` of others
that have it: rooms and positions are in the offset that the client kept, and either all of them are taken up before
CONNECT is answered (same id, `recovered`) or none is. Membership is asked of each room as for any join.
"""

import asyncio
from collections.abc import Mapping
from functools import partial
from typing import Any, Final

from actors.messages import Delivery
from cluster.kernel.errors import UNAVAILABLE, FlowError
from realtime.engine.port import Connection
from realtime.namespaces import chat
from realtime.namespaces.common import Afterwards, Services
from realtime.namespaces.persistence import attach_step, persist
from realtime.offsets import Offsets
from realtime.protocol import ConnectRequest, Since, SincePosition, since_position
from realtime.sockets import Person

RESUMED_EVENT: Final = "chat:resumed"

_PAUSE_S: Final = 0.1
_TRY_S: Final = 1.0
"""A host that is silent delays the rooms of the others by no more than this a room, until its link is given up."""

_MOST_UNSENT_BYTES: Final = 131_072
_RETRY_MS: Final = 1_000


async def admit(
    services: Services, connection: Connection, person: Person, request: ConnectRequest
) -> Afterwards | None:
    if not person.socket.is_attached:
        await persist(services, connection, [attach_step(services, person)])
    recovered = None
    if _is_recoverable(services, connection, request):
        recovered = await _recover(services, connection, person, request)
    since = _still_wanted(request.since or {}, recovered)
    return partial(resume_rooms, services, connection, person, since) if since else None


def _is_recoverable(services: Services, connection: Connection, request: ConnectRequest) -> bool:
    """What the client says goes before what its first request looked like, and what the operator says before both."""
    setting = services.limits.state_recovery
    if setting == "never" or request.recover is False:
        return False
    return request.recover or request.pid is not None or (setting == "automatic" and connection.keeps_offsets)


def _still_wanted(since: Mapping[str, Since], recovered: Offsets | None) -> dict[str, SincePosition]:
    return {
        room_id: since_position(position)
        for room_id, position in since.items()
        if recovered is None or room_id not in recovered
    }


# --- connection state recovery ----------------------------------------------------------------------------------------


async def _recover(
    services: Services, connection: Connection, person: Person, request: ConnectRequest
) -> Offsets | None:
    """Give the client what it had, or a new start, in which nothing of the old is left. None for the latter."""
    fresh, socket, limit = connection.id, person.socket, services.limits.max_recoverable_rooms
    if request.pid is not None:
        known_id = services.pids.verify(request.pid, connection.namespace, socket.user_id, socket.session_id)
        offsets = None if known_id is None else Offsets.parse(request.offset or "", limit)
        if known_id is not None and offsets is not None:
            connection.id = known_id
            services.deliveries.track(connection, offsets)
            if await _take_up(services, connection, person, offsets):
                connection.pid = request.pid
                services.deliveries.recoveries["recovered"] += 1
                return offsets
            services.subscriptions.disconnect(connection)
            connection.unsend()
            connection.id = fresh
        services.deliveries.recoveries["not_recovered"] += 1
    services.deliveries.track(connection, Offsets(limit))
    connection.pid = services.pids.sign(fresh, connection.namespace, socket.user_id, socket.session_id)
    return None


class _Allowance:
    """What one recovery may still give back."""

    def __init__(self, messages: int, characters: int) -> None:
        self._messages = messages
        self._characters = characters

    def spend(self, messages: tuple[dict[str, Any], ...]) -> bool:
        """False when it is more than that."""
        self._messages -= len(messages)
        self._characters -= sum(len(message["text"]) for message in messages)
        return self._messages >= 0 and self._characters >= 0


async def _take_up(services: Services, connection: Connection, person: Person, offsets: Offsets) -> bool:
    """Join all rooms again and send what was missed; False when one of them cannot be taken up whole."""
    limits = services.limits
    allowance = _Allowance(limits.max_recovered_messages, limits.max_recovered_characters)
    try:
        async with asyncio.timeout(limits.recovery_timeout_s), asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(_take_up_room(services, connection, person, room_id, seq, allowance))
                for room_id, seq in offsets
            ]
    except TimeoutError:
        return False
    return all(task.result() for task in tasks)


async def _take_up_room(
    services: Services, connection: Connection, person: Person, room_id: str, seq: int, allowance: _Allowance
) -> bool:
    while True:
        try:
            async with services.resuming:
                joined, backlog = await chat.enter(services, connection, person, room_id, SincePosition(seq=seq))
        except FlowError as error:
            if not error.kind.retryable:
                return False
            await asyncio.sleep(_PAUSE_S)
            continue
        if not joined.recovered or not allowance.spend(joined.messages):
            return False
        key = str(chat.room_key(room_id))
        for message in joined.messages:
            missed = Delivery(
                key=key, name="chat:new_message", body=message, epoch=message["epoch"], seq=message["seq"]
            )
            services.deliveries.send((connection,), missed)
        for delivery in backlog:
            services.deliveries.send((connection,), delivery)
        return True


# --- the rooms named in `auth.since` ----------------------------------------------------------------------------------


async def resume_rooms(
    services: Services, connection: Connection, person: Person, since: Mapping[str, SincePosition]
) -> None:
    """Answer each room with `chat:resumed`, one after the other: what waits for a socket stays small. Rooms whose host
    is away are tried again, after the others, until the time for it is over."""
    until = services.clock.monotonic() + services.limits.rooms_resume_timeout_s
    left = dict(since)
    while left and connection.is_open:
        is_last = services.clock.monotonic() >= until
        for room_id, position in tuple(left.items()):
            await _until_taken(connection)
            if await _resume_room(services, connection, person, room_id, position, is_last=is_last):
                del left[room_id]
        if left:
            await asyncio.sleep(_PAUSE_S)


async def _until_taken(connection: Connection) -> None:
    """Wait for a client that has much to read."""
    while connection.is_open and connection.unsent_bytes > _MOST_UNSENT_BYTES:  # noqa: ASYNC110 - rare, and bounded
        await asyncio.sleep(_PAUSE_S)


async def _resume_room(
    services: Services, connection: Connection, person: Person, room_id: str, since: SincePosition, *, is_last: bool
) -> bool:
    """False when it should be tried again."""
    try:
        key = chat.room_key(room_id)
        if not services.router.is_reachable(key):
            raise FlowError(UNAVAILABLE, retry_after_ms=_RETRY_MS)
        async with services.resuming:
            joined, backlog = await chat.enter(services, connection, person, room_id, since, timeout_s=_TRY_S)
    except FlowError as error:
        if error.kind.retryable and not is_last:
            return False
        connection.emit(RESUMED_EVENT, {"roomId": room_id, "error": error.to_wire()})
        return True
    body = {"roomId": key.id, **chat.joined_body(joined)}
    offsets = services.deliveries.offsets_of(connection)
    # With the messages and not before them: a client that has the offset must have them too.
    connection.emit(RESUMED_EVENT, body, *(() if offsets is None else (offsets.move(key.id, joined.seq),)))
    for delivery in backlog:
        services.deliveries.send((connection,), delivery)
    return True
