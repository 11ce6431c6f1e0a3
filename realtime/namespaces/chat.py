"""/chat: rooms, messages, typing, read marks and history.

Every rule (who may enter, what a message is numbered) is the room's own; here requests become its commands and its
replies become answers. The room checks membership on each of them.
"""

from typing import Final

from actors.messages import (
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
from realtime.namespaces.common import Answer, Handler, Services, join
from realtime.protocol import (
    HistoryRequest,
    JoinRoomRequest,
    ReadRequest,
    RoomRequest,
    SendMessageRequest,
    TypingRequest,
)
from realtime.sockets import Person


def _key(room_id: str) -> Key:
    return chat_key(parse_room(room_id).id)


async def join_room(services: Services, connection: Connection, person: Person, request: JoinRoomRequest) -> Answer:
    body = JoinRoom(since=request.since, since_epoch=request.epoch)
    joined, backlog = await join(
        services,
        connection,
        person,
        _key(request.room_id),
        "chat.join",
        body,
        JoinedRoom,
        lambda reply: (reply.epoch, reply.seq),
    )
    return Answer(
        {
            "epoch": joined.epoch,
            "seq": joined.seq,
            "recovered": joined.recovered,
            "messages": list(joined.messages),
        },
        backlog,
    )


async def leave_room(services: Services, connection: Connection, person: Person, request: RoomRequest) -> Answer:
    services.subscriptions.leave(connection, str(_key(request.room_id)))
    return Answer({})


async def send_message(
    services: Services, connection: Connection, person: Person, request: SendMessageRequest
) -> Answer:
    sent = await services.router.command(
        person.user_id,
        _key(request.room_id),
        "chat.send",
        SendMessage(id=new_id(), text=request.text, client_message_id=request.client_msg_id),
        SentMessage,
        connection=connection.id,
    )
    return Answer({"id": sent.id, "seq": sent.seq, "epoch": sent.epoch, "ts": sent.ts})


async def typing(services: Services, connection: Connection, person: Person, request: TypingRequest) -> Answer:
    key = _key(request.room_id)
    if not services.subscriptions.is_joined(connection, str(key)):
        raise FlowError(NOT_JOINED)
    _ = await services.router.command(
        person.user_id, key, "chat.typing", Typing(is_typing=request.is_typing), Done, connection=connection.id
    )
    return Answer({})


async def read(services: Services, connection: Connection, person: Person, request: ReadRequest) -> Answer:
    _ = await services.router.command(
        person.user_id,
        _key(request.room_id),
        "chat.read",
        MarkRead(seq=request.seq),
        Done,
        connection=connection.id,
    )
    return Answer({})


async def history(services: Services, connection: Connection, person: Person, request: HistoryRequest) -> Answer:
    page = await services.router.command(
        person.user_id,
        _key(request.room_id),
        "chat.history",
        ReadHistory(before=request.before, limit=request.limit),
        HistoryPage,
        connection=connection.id,
    )
    return Answer({"messages": list(page.messages), "nextBefore": page.next_before})


HANDLERS: Final[dict[str, Handler]] = {
    "chat:join_room": join_room,
    "chat:leave_room": leave_room,
    "chat:send_message": send_message,
    "chat:typing": typing,
    "chat:read": read,
    "chat:history": history,
}
