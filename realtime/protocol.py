"""The clients' wire contract: the events that exist, the shape each takes, and the shape of an answer.

The namespaces parse what a client sent here before anything else looks at it. Types are strict and unknown fields are
refused, so what comes out can be trusted as to form; whether the person may do it is decided elsewhere. It promises
that every rejection is a FlowError INVALID_REQUEST which names each offending field, never echoes a value, and that no
text comes out which cannot be written as UTF-8.
"""

from typing import Annotated, Any, Final, Literal, TypeVar

import msgspec

from cluster.kernel.errors import INVALID_REQUEST, FlowError
from realtime.offsets import MAX_OFFSET_CHARACTERS, MAX_PID_CHARACTERS

T = TypeVar("T", bound="Payload")

MAX_TEXT_CHARACTERS: Final = 4_000
MAX_SINCE_ROOMS: Final = 128
_MAX_NAMED_FIELDS: Final = 16
_REFUSALS: Final = (msgspec.ValidationError, UnicodeEncodeError, TypeError, RecursionError)
_MAX_FIELD_NAME: Final = 64

EventId = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{24}\Z")]
RoomId = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
Number = Annotated[int, msgspec.Meta(ge=0, le=2**53)]


class Payload(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """What one event carries. Field names on the wire are camelCase."""


class SincePosition(Payload, frozen=True):
    """Where a client is in a room: the last `seq` it has, and the epoch it saw it in if it kept that."""

    seq: Number
    epoch: Number | None = None


Since = Number | SincePosition


def since_position(since: Since) -> SincePosition:
    """A plain number is the seq."""
    return since if isinstance(since, SincePosition) else SincePosition(seq=since)


class JoinRoomRequest(Payload, frozen=True):
    """chat:join_room; a plain string is the room's id."""

    room_id: RoomId
    since: Since | None = None
    epoch: Number | None = None


class RoomRequest(Payload, frozen=True):
    """chat:leave_room; a plain string is the room's id."""

    room_id: RoomId


class SendMessageRequest(Payload, frozen=True):
    """chat:send_message. `client_msg_id` is the client's own: the same one again gets the same answer."""

    room_id: RoomId
    text: Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_TEXT_CHARACTERS)]
    client_msg_id: Annotated[str, msgspec.Meta(min_length=1, max_length=128)]


class TypingRequest(Payload, frozen=True):
    room_id: RoomId
    is_typing: bool


class ReadRequest(Payload, frozen=True):
    """chat:read: this person has read up to `seq`."""

    room_id: RoomId
    seq: Number


class HistoryRequest(Payload, frozen=True):
    """chat:history: the messages before a seq, or the newest."""

    room_id: RoomId
    before: Number | None = None
    limit: Annotated[int, msgspec.Meta(ge=1, le=100)] = 50


class EventRequest(Payload, frozen=True):
    """event:interested, event:join_updates, event:leave_updates; a plain string is the event's id."""

    event_id: EventId


class RsvpRequest(Payload, frozen=True):
    event_id: EventId
    status: Literal["going", "interested", "declined"]


class ReadNotificationRequest(Payload, frozen=True):
    id: Annotated[str, msgspec.Meta(min_length=1, max_length=128)]


class ListNotificationsRequest(Payload, frozen=True):
    """notification:list; the payload may be left out."""

    before: Annotated[str, msgspec.Meta(min_length=1, max_length=256)] | None = None
    limit: Annotated[int, msgspec.Meta(ge=1, le=100)] = 50


class RefreshRequest(Payload, frozen=True):
    """auth:refresh: a newer token for the same person and session."""

    token: Annotated[str, msgspec.Meta(min_length=1, max_length=4_096)]


class ConnectRequest(Payload, frozen=True, forbid_unknown_fields=False):
    """The `auth` payload of a connection. `location` is [longitude, latitude]; `interests` are tags.

    For `/chat`: `since` names rooms to join again and where the client is in each; `recover` asks for connection state
    recovery, or for none; the official client adds its `pid` and `offset` by itself when it comes back.
    Client libraries put fields of their own into it, so here unknown fields are left alone.
    """

    token: Annotated[str, msgspec.Meta(min_length=1, max_length=4_096)]
    location: (
        tuple[
            Annotated[float, msgspec.Meta(ge=-180, le=180)],
            Annotated[float, msgspec.Meta(ge=-90, le=90)],
        ]
        | None
    ) = None
    interests: (
        Annotated[tuple[Annotated[str, msgspec.Meta(min_length=1, max_length=64)], ...], msgspec.Meta(max_length=32)]
        | None
    ) = None
    since: Annotated[dict[RoomId, Since], msgspec.Meta(max_length=MAX_SINCE_ROOMS)] | None = None
    recover: bool | None = None
    pid: Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_PID_CHARACTERS)] | None = None
    offset: Annotated[str, msgspec.Meta(max_length=MAX_OFFSET_CHARACTERS)] | None = None


EVENTS: Final[dict[str, dict[str, type[Payload]]]] = {
    "/chat": {
        "chat:join_room": JoinRoomRequest,
        "chat:leave_room": RoomRequest,
        "chat:send_message": SendMessageRequest,
        "chat:typing": TypingRequest,
        "chat:read": ReadRequest,
        "chat:history": HistoryRequest,
    },
    "/events": {
        "event:interested": EventRequest,
        "event:join_updates": EventRequest,
        "event:leave_updates": EventRequest,
        "event:rsvp": RsvpRequest,
    },
    "/notifications": {
        "notification:read": ReadNotificationRequest,
        "notification:list": ListNotificationsRequest,
    },
}
"""Each namespace's own events. `auth:refresh` belongs to every namespace."""

AUTH_REFRESH: Final = "auth:refresh"

_ALONE: Final[dict[type[Payload], str]] = {
    JoinRoomRequest: "roomId",
    RoomRequest: "roomId",
    EventRequest: "eventId",
}
"""The field a payload of one plain string stands for."""


def shape_of(namespace: str, event: str) -> type[Payload] | None:
    """The payload of an event, None when the namespace has no such event."""
    if event == AUTH_REFRESH:
        return RefreshRequest
    return EVENTS[namespace].get(event)


def parse(shape: type[T], args: list[Any]) -> T:
    """The payload of one event from its arguments. Raises FlowError INVALID_REQUEST with `fields`."""
    if len(args) > 1 or (not args and shape is not ListNotificationsRequest):
        raise FlowError(INVALID_REQUEST, f"This event takes one argument, not {len(args)}.")
    value = args[0] if args else {}
    alone = _ALONE.get(shape)
    if alone is not None and isinstance(value, str):
        value = {alone: value}
    return parse_value(shape, value)


def parse_value(shape: type[T], value: Any) -> T:
    """`value`, as a client sent it, in a shape. Raises FlowError INVALID_REQUEST with `fields`."""
    if not isinstance(value, dict):
        raise FlowError(INVALID_REQUEST, "The payload must be an object.")
    try:
        payload = msgspec.convert(value, shape)
    except _REFUSALS:
        raise _rejection(shape, value) from None
    for item in value.values():
        if isinstance(item, str) and not (item.isascii() or _is_text(item)):
            raise _rejection(shape, value)
    return payload


def _is_text(value: str) -> bool:
    """False for half of a surrogate pair alone, which JSON can carry and UTF-8 cannot."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _rejection(shape: type[Payload], value: dict[Any, Any]) -> FlowError:
    """Which fields are missing, unknown, or not of their type; worked out only when something was wrong."""
    known = {field.encode_name: field for field in msgspec.structs.fields(shape)}
    missing = [name for name, field in known.items() if field.required and name not in value]
    strict = shape.__struct_config__.forbid_unknown_fields
    unknown = [str(name) for name in value if name not in known] if strict else []
    wrong = [name for name in value if name in known and not _fits(value[name], known[name].type)]
    sentences = [
        f"{what}: {', '.join(_shown(name) for name in names[:_MAX_NAMED_FIELDS])}."
        for what, names in (("Missing", missing), ("Unknown", unknown), ("Not of the form it must have", wrong))
        if names
    ]
    offending = tuple(_shown(name) for name in (*missing, *unknown, *wrong)[:_MAX_NAMED_FIELDS])
    return FlowError(INVALID_REQUEST, " ".join(sentences) or None, fields=offending)


def _fits(value: Any, kind: Any) -> bool:
    try:
        msgspec.convert(value, kind)
    except _REFUSALS:
        return False
    return not isinstance(value, str) or _is_text(value)


def _shown(name: str) -> str:
    return name[:_MAX_FIELD_NAME].encode(errors="replace").decode()


def success(body: dict[str, Any]) -> dict[str, Any]:
    """The answer to a request that was carried out."""
    return {"ok": True, **body}


def failure(error: FlowError) -> dict[str, Any]:
    """The answer to a request that was not."""
    return {"ok": False, "error": error.to_wire()}
