"""The shapes of chat messages: the same fields as the `chat:new_message` event."""

from collections.abc import Sequence
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from realtime.http.fields import Answer, PageLimit, Strict
from realtime.protocol import MAX_TEXT_CHARACTERS


class NewMessage(Strict, frozen=True):
    """`client_msg_id` is the client's own: the same one again gets the same answer and no second message."""

    text: Annotated[str, Meta(min_length=1, max_length=MAX_TEXT_CHARACTERS)]
    client_msg_id: Annotated[str, Meta(min_length=1, max_length=128)]


class Sent(Answer, frozen=True):
    """The message is durable, at this place of the room's one order."""

    id: str
    seq: int
    epoch: int
    ts: int


class ChatMessage(Answer, frozen=True):
    """`ts` is in milliseconds since the epoch."""

    room_id: str
    seq: int
    epoch: int
    id: str
    user_id: str
    text: str
    ts: int
    client_msg_id: str


Seq = Annotated[int, Meta(ge=1, le=2**53)]


class History(Strict, frozen=True):
    """`before` and `cursor` mean the same, a seq; without either, the newest messages."""

    before: Seq | None = None
    cursor: Seq | None = None
    limit: PageLimit = 50


class Messages(Answer, frozen=True):
    """A page, the oldest first. `next` leads to the older ones."""

    items: tuple[ChatMessage, ...]
    next: str | None


def chat_messages(wire: Sequence[dict[str, Any]]) -> tuple[ChatMessage, ...]:
    """What an actor answered, as messages."""
    return msgspec.convert(wire, tuple[ChatMessage, ...])
