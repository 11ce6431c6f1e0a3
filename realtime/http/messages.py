"""Chat messages over HTTP: reading back and sending, by the room's own rules.

Both go to the room's actor as the socket's events do, so membership, order, idempotency and limits are the same.
"""

from actors.messages import HistoryPage, ReadHistory, SendMessage, SentMessage
from cluster.kernel.errors import (
    CLIENT_MESSAGE_ID_REUSED,
    INVALID_REQUEST,
    NOT_A_MEMBER,
    ROOM_NOT_FOUND,
    FlowError,
)
from cluster.kernel.ids import chat_key, new_id, parse_room
from realtime.http.fields import Nothing
from realtime.http.message_shapes import History, Messages, NewMessage, Sent, chat_messages
from realtime.http.operations import AnyOperation, Call, Operation


async def read(call: Call[Nothing, History]) -> Messages:
    query = call.query
    if query.before is not None and query.cursor is not None:
        raise FlowError(INVALID_REQUEST, "Give before or cursor, not both.", fields=("before", "cursor"))
    page = await call.context.router.command(
        call.caller.user_id,
        chat_key(parse_room(call.path["roomId"]).id),
        "chat.history",
        ReadHistory(before=query.before if query.cursor is None else query.cursor, limit=query.limit),
        HistoryPage,
        timeout_s=call.context.settings.command_timeout_s,
    )
    return Messages(
        items=chat_messages(page.messages), next=None if page.next_before is None else str(page.next_before)
    )


async def send(call: Call[NewMessage, Nothing]) -> Sent:
    sent = await call.context.router.command(
        call.caller.user_id,
        chat_key(parse_room(call.path["roomId"]).id),
        "chat.send",
        SendMessage(id=new_id(), text=call.body.text, client_message_id=call.body.client_msg_id),
        SentMessage,
        timeout_s=call.context.settings.command_timeout_s,
    )
    return Sent(id=sent.id, seq=sent.seq, epoch=sent.epoch, ts=sent.ts)


OPERATIONS: tuple[AnyOperation, ...] = (
    Operation(
        method="GET",
        path="/v1/rooms/{roomId}/messages",
        summary="A room's messages, the newest page first.",
        tag="Chat",
        handle=read,
        body=Nothing,
        query=History,
        reply=Messages,
        errors=(NOT_A_MEMBER, ROOM_NOT_FOUND),
    ),
    Operation(
        method="POST",
        path="/v1/rooms/{roomId}/messages",
        summary="Send a message to a room.",
        tag="Chat",
        handle=send,
        body=NewMessage,
        query=Nothing,
        reply=Sent,
        status=201,
        errors=(NOT_A_MEMBER, ROOM_NOT_FOUND, CLIENT_MESSAGE_ID_REUSED),
    ),
)
