"""/chat: rooms, messages, typing, read marks and history.

Every rule (who may enter, what a message is numbered) is the room's own; here requests become its commands and its
replies become answers. The room checks membership on each of them.
"""

from collections.abc import Sequence
from typing import Any, Final

from actors.messages import (
    Delivery,
    Done,
    HistoryPage,
    JoinedRoom,
    JoinRoom,
    MarkRead,
    ReadHistory,
    SendMessage,
    SentMessage,
    Typing,
)
from cluster.kernel.errors import NOT_JOINED, FlowError
from cluster.kernel.ids import Key, chat_key, new_id, parse_room
from realtime.engine.port import Connection
from realtime.namespaces.common import Answer, Handler, Question, Questioner, Services, join, nothing
from realtime.protocol import (
    HistoryRequest,
    JoinRoomRequest,
    ReadRequest,
    RoomRequest,
    SendMessageRequest,
    SincePosition,
    TypingRequest,
    since_position,
)
from realtime.sockets import Person

REMOVED_EVENT: Final = "chat:removed"

OFFSET_EVENT: Final = "chat:offset"
"""Tells a client that asked for connection state recovery where it is, when no message does."""


def room_key(room_id: str) -> Key:
    """The key of a room as a client names it. Raises FlowError INVALID_REQUEST."""
    return chat_key(parse_room(room_id).id)


async def enter(
    services: Services,
    connection: Connection,
    person: Person,
    room_id: str,
    since: SincePosition | None,
    **options: Any,
) -> tuple[JoinedRoom, Sequence[Delivery]]:
    """Join a room; the room's answer, and the deliveries to send the connection right after it."""
    body = JoinRoom() if since is None else JoinRoom(since=since.seq, since_epoch=since.epoch)
    return await join(
        services,
        connection,
        person,
        room_key(room_id),
        "chat.join",
        body,
        JoinedRoom,
        lambda reply: (reply.epoch, reply.seq),
        **options,
    )


def joined_body(joined: JoinedRoom) -> dict[str, Any]:
    """What a client is told of a room it has joined."""
    return {
        "epoch": joined.epoch,
        "seq": joined.seq,
        "recovered": joined.recovered,
        "messages": list(joined.messages),
    }


async def join_room(services: Services, connection: Connection, person: Person, request: JoinRoomRequest) -> Answer:
    since = None if request.since is None else since_position(request.since)
    if since is not None and since.epoch is None:
        since = SincePosition(seq=since.seq, epoch=request.epoch)
    joined, backlog = await enter(services, connection, person, request.room_id, since)
    offsets = services.deliveries.offsets_of(connection)
    if offsets is not None:
        # Before the answer: a client that was told of a join must come back to it.
        connection.emit(OFFSET_EVENT, offsets.move(room_key(request.room_id).id, joined.seq))
    return Answer(joined_body(joined), backlog)


async def leave_room(services: Services, connection: Connection, person: Person, request: RoomRequest) -> Answer:
    _leave(services, connection, room_key(request.room_id))
    return Answer({})


def _leave(services: Services, connection: Connection, key: Key) -> None:
    services.subscriptions.leave(connection, str(key))
    offsets = services.deliveries.offsets_of(connection)
    if offsets is not None and key.id in offsets:
        connection.emit(OFFSET_EVENT, offsets.leave(key.id))


def removed_from_room(services: Services, delivery: Delivery) -> None:
    """These people are members no more (`actors.messages.MEMBERS_REMOVED`): they hear so, and nothing after it."""
    users = set(delivery.body["userIds"])
    key = Key.parse(delivery.key)
    for connection in services.subscriptions.connections_of(delivery.key):
        if connection.state.user_id in users:
            _leave(services, connection, key)
            connection.emit(REMOVED_EVENT, {"roomId": key.id})


def send_message(services: Services, connection: Connection, person: Person, request: SendMessageRequest) -> Question:
    body = SendMessage(id=new_id(), text=request.text, client_message_id=request.client_msg_id)
    return Question(room_key(request.room_id), "chat.send", body, SentMessage, _sent_body)


def _sent_body(sent: SentMessage) -> dict[str, Any]:
    return {"id": sent.id, "seq": sent.seq, "epoch": sent.epoch, "ts": sent.ts}


def typing(services: Services, connection: Connection, person: Person, request: TypingRequest) -> Question:
    key = room_key(request.room_id)
    if not services.subscriptions.is_joined(connection, str(key)):
        raise FlowError(NOT_JOINED)
    return Question(key, "chat.typing", Typing(is_typing=request.is_typing), Done, nothing)


def read(services: Services, connection: Connection, person: Person, request: ReadRequest) -> Question:
    return Question(room_key(request.room_id), "chat.read", MarkRead(seq=request.seq), Done, nothing)


def history(services: Services, connection: Connection, person: Person, request: HistoryRequest) -> Question:
    body = ReadHistory(before=request.before, limit=request.limit)
    return Question(room_key(request.room_id), "chat.history", body, HistoryPage, _history_body)


def _history_body(page: HistoryPage) -> dict[str, Any]:
    return {"messages": list(page.messages), "nextBefore": page.next_before}


HANDLERS: Final[dict[str, Handler]] = {
    "chat:join_room": join_room,
    "chat:leave_room": leave_room,
}

QUESTIONERS: Final[dict[str, Questioner]] = {
    "chat:send_message": send_message,
    "chat:typing": typing,
    "chat:read": read,
    "chat:history": history,
}
