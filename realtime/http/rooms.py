"""Group chat rooms: made, listed, joined and left. Rooms of events and of two people need no making.

Who belongs to a room is a row in storage; its actor is told after each change, so that what it knows of members is
forgotten at once. Any member of a group may bring in others.
"""

from typing import Annotated, Any

from msgspec import Meta

from actors.messages import Done, JoinedRoom, JoinRoom, MembersChanged
from cluster.kernel.errors import (
    EVENT_NOT_FOUND,
    INVALID_REQUEST,
    NOT_A_MEMBER,
    ROOM_NOT_FOUND,
    USER_NOT_FOUND,
    FlowError,
)
from cluster.kernel.ids import Room, RoomKind, chat_key, new_id, parse_room
from realtime.http.fields import (
    DEFAULT_PAGE,
    Answer,
    Cursor,
    Id,
    Nothing,
    PageLimit,
    RoomId,
    SentMoment,
    Strict,
    moment,
)
from realtime.http.message_shapes import ChatMessage, chat_messages
from realtime.http.operations import AnyOperation, Call, Operation
from storage.records import RoomRecord

MemberIds = Annotated[tuple[Id, ...], Meta(max_length=100)]
RoomName = Annotated[str, Meta(min_length=1, max_length=100, pattern="\\S")]


class NewRoom(Strict, frozen=True):
    """A group. Whoever makes it is a member too."""

    name: RoomName
    member_ids: MemberIds = ()


class NewMembers(Strict, frozen=True):
    member_ids: Annotated[MemberIds, Meta(min_length=1)]


class RoomPage(Strict, frozen=True):
    limit: PageLimit = DEFAULT_PAGE
    cursor: Cursor | None = None


class GroupRoom(Answer, frozen=True):
    """A chat room of one's own. `name` is empty for rooms of events and of two people."""

    id: RoomId
    kind: str
    name: str
    created_by: str
    created_at: SentMoment


class GroupRooms(Answer, frozen=True):
    items: tuple[GroupRoom, ...]
    next: str | None


class Joined(Answer, frozen=True):
    """Where the room stands, and its newest messages, the oldest first."""

    epoch: int
    seq: int
    messages: tuple[ChatMessage, ...]


async def make(call: Call[NewRoom, Nothing]) -> GroupRoom:
    storage, now_ms = call.context.storage, call.context.clock.now_ms()
    people = _everybody(call.body.member_ids, call.caller.user_id)
    await _check_people(call, people)
    record = RoomRecord(
        id=new_id(),
        kind=RoomKind.GROUP.value,
        name=call.body.name.strip(),
        created_by=call.caller.user_id,
        created_at_ms=now_ms,
    )
    await storage.rooms.create(record)
    await storage.memberships.add(record.id, people, now_ms)
    return _shown(record)


async def list_own(call: Call[Nothing, RoomPage]) -> GroupRooms:
    """In the order of their ids, which is that of their making."""
    storage, limit = call.context.storage, call.query.limit
    ids = await storage.memberships.rooms_of(call.caller.user_id, call.query.cursor, limit + 1)
    records = await storage.rooms.by_ids(ids[:limit])
    return GroupRooms(
        items=tuple(_shown(record) for record in records), next=ids[limit - 1] if len(ids) > limit else None
    )


async def add_members(call: Call[NewMembers, Nothing]) -> Nothing:
    room = await _own_group(call)
    people = tuple(dict.fromkeys(call.body.member_ids))
    await _check_people(call, people)
    await call.context.storage.memberships.add(room.id, people, call.context.clock.now_ms())
    await _tell_room(call, room, people)
    return Nothing()


async def join(call: Call[Nothing, Nothing]) -> Joined:
    """Become a member of the chat of an event one may see; a member of any room just gets its newest messages."""
    room = parse_room(call.path["roomId"])
    joined = await call.context.router.command(
        call.caller.user_id,
        chat_key(room.id),
        "chat.join",
        JoinRoom(),
        JoinedRoom,
        timeout_s=call.context.settings.command_timeout_s,
    )
    return Joined(epoch=joined.epoch, seq=joined.seq, messages=chat_messages(joined.messages))


async def leave(call: Call[Nothing, Nothing]) -> Nothing:
    """Safe to repeat."""
    room = parse_room(call.path["roomId"])
    if room.kind is RoomKind.DIRECT:
        raise FlowError(INVALID_REQUEST, "A conversation of two people cannot be left.", fields=("roomId",))
    await call.context.storage.memberships.remove(room.id, call.caller.user_id)
    await _tell_room(call, room, (call.caller.user_id,), removed=True)
    return Nothing()


async def _own_group(call: Call[Any, Any]) -> Room:
    room = parse_room(call.path["roomId"])
    if room.kind is not RoomKind.GROUP:
        raise FlowError(INVALID_REQUEST, "Only groups take members.", fields=("roomId",))
    if not await call.context.storage.memberships.is_member(room.id, call.caller.user_id):
        if await call.context.storage.rooms.by_id(room.id) is None:
            raise FlowError(ROOM_NOT_FOUND)
        raise FlowError(NOT_A_MEMBER)
    return room


async def _check_people(call: Call[Any, Any], people: tuple[str, ...]) -> None:
    found = await call.context.storage.users.by_ids(people)
    if len(found) < len(people):
        raise FlowError(USER_NOT_FOUND, "There is no user with one of these ids.", fields=("memberIds",))


async def _tell_room(call: Call[Any, Any], room: Room, people: tuple[str, ...], *, removed: bool = False) -> None:
    """The rows are durable already; an actor that cannot be reached forgets what it knew by itself before long."""
    try:
        await call.context.router.command(
            call.caller.user_id,
            chat_key(room.id),
            "chat.members_changed",
            MembersChanged(users=people, removed=removed),
            Done,
            timeout_s=call.context.settings.command_timeout_s,
        )
    except FlowError as error:
        if not error.kind.retryable:
            raise


def _everybody(members: tuple[str, ...], maker: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys((maker, *members)))


def _shown(record: RoomRecord) -> GroupRoom:
    return GroupRoom(
        id=record.id,
        kind=record.kind,
        name=record.name,
        created_by=record.created_by,
        created_at=moment(record.created_at_ms),
    )


_REFUSED = (NOT_A_MEMBER, ROOM_NOT_FOUND)

OPERATIONS: tuple[AnyOperation, ...] = (
    Operation(
        method="POST",
        path="/v1/rooms",
        summary="Make a group chat room.",
        tag="Chat",
        handle=make,
        body=NewRoom,
        query=Nothing,
        reply=GroupRoom,
        status=201,
        errors=(USER_NOT_FOUND,),
    ),
    Operation(
        method="GET",
        path="/v1/rooms",
        summary="The rooms you are a member of.",
        tag="Chat",
        handle=list_own,
        body=Nothing,
        query=RoomPage,
        reply=GroupRooms,
    ),
    Operation(
        method="POST",
        path="/v1/rooms/{roomId}/members",
        summary="Bring people into a group you are a member of.",
        tag="Chat",
        handle=add_members,
        body=NewMembers,
        query=Nothing,
        reply=Nothing,
        errors=(*_REFUSED, USER_NOT_FOUND),
    ),
    Operation(
        method="POST",
        path="/v1/rooms/{roomId}/members/me",
        summary="Join the chat of an event, as chat:join_room does.",
        tag="Chat",
        handle=join,
        body=Nothing,
        query=Nothing,
        reply=Joined,
        errors=(*_REFUSED, EVENT_NOT_FOUND),
    ),
    Operation(
        method="DELETE",
        path="/v1/rooms/{roomId}/members/me",
        summary="Leave a room.",
        tag="Chat",
        handle=leave,
        body=Nothing,
        query=Nothing,
        reply=Nothing,
    ),
)
