"""Ids: how they are made and parsed. Opaque strings everywhere; only this file knows their form.

An id is 24 hexadecimal characters, the first eight of them the second it was made, so ids sort by time.
A key names one virtual actor: its kind and its id. `shard` and `host` follow from the key alone (cluster.placement).
"""

import os
import re
import secrets
import time
from enum import StrEnum
from typing import Final, NamedTuple

from cluster.kernel.errors import INVALID_REQUEST, FlowError

_ID = re.compile(r"[0-9a-f]{24}\Z")
_IDS_A_DRAW = 64

_drawn: list[str] = []
"""Random parts of ids to come: one system call for many."""

os.register_at_fork(after_in_child=_drawn.clear)


def new_id() -> str:
    """A new id, unique to 64 random bits within its second. May be called from any thread."""
    try:
        random = _drawn.pop()
    except IndexError:
        digits = secrets.token_hex(8 * _IDS_A_DRAW)
        random = digits[:16]
        _drawn.extend(digits[start : start + 16] for start in range(16, len(digits), 16))
    return f"{int(time.time()) & 0xFFFFFFFF:08x}{random}"


def is_id(text: object) -> bool:
    return isinstance(text, str) and _ID.match(text) is not None


class KeyKind(StrEnum):
    """The kinds of virtual actor."""

    CHAT = "chat"
    EVENT = "event"
    USER = "user"
    TOPIC = "topic"

    __hash__ = str.__hash__  # an enumeration's own is a method of Python's, and keys are hashed with every command


_KIND_OF: Final = {kind.value: kind for kind in KeyKind}


class Key(NamedTuple):
    """The name of one virtual actor."""

    kind: KeyKind
    id: str

    def __str__(self) -> str:
        return self.kind + "/" + self.id  # each command is routed by it, and a format of an enumeration is dear

    @classmethod
    def parse(cls, text: str) -> "Key":
        kind, slash, rest = text.partition("/")
        if not slash or not rest:
            raise FlowError(INVALID_REQUEST, f"{text!r} is not a key.")
        known = _KIND_OF.get(kind)
        if known is None:
            raise ValueError(f"{kind!r} is no kind of key")
        return cls(known, rest)


class RoomKind(StrEnum):
    GROUP = "group"
    EVENT = "event"
    DIRECT = "dm"


_CHAT: Final = KeyKind.CHAT
_GROUP: Final = RoomKind.GROUP
"""What every message asks for; to look a member up by its enumeration takes several times as long."""


class Room(NamedTuple):
    """A chat room's id, taken apart. `id` is canonical: the two people of a direct room are in order."""

    id: str
    kind: RoomKind
    event_id: str | None = None
    people: tuple[str, str] | None = None


def parse_room(text: str) -> Room:
    """A room's id as clients write it: an id, `event:{eventId}` or `dm:{a}:{b}` (either order).

    Raises FlowError INVALID_REQUEST for anything else, a direct room with oneself included.
    """
    if is_id(text):
        return Room(text, _GROUP)
    head, _, rest = text.partition(":")
    if head == "event" and is_id(rest):
        return Room(text, RoomKind.EVENT, event_id=rest)
    if head == "dm":
        first, _, second = rest.partition(":")
        if is_id(first) and is_id(second) and first != second:
            a, b = sorted((first, second))
            return Room(f"dm:{a}:{b}", RoomKind.DIRECT, people=(a, b))
    raise FlowError(INVALID_REQUEST, "roomId must be a room's id, event:{eventId} or dm:{a}:{b}.", fields=("roomId",))


def chat_key(room_id: str) -> Key:
    return Key(_CHAT, room_id)


def event_key(event_id: str) -> Key:
    return Key(KeyKind.EVENT, event_id)


def user_key(user_id: str) -> Key:
    return Key(KeyKind.USER, user_id)


def topic_key(topic: str) -> Key:
    """A topic is `location:{cell}` or `interest:{tag}`: fan-out without history."""
    return Key(KeyKind.TOPIC, topic)
