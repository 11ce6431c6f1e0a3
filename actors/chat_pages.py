"""What a chat room shows of its history: the wire form of messages, pages, and exactly what somebody missed.

Pure functions over a room's position and window, with facts where the window does not reach. Every page is contiguous
and bounded in messages and bytes.
"""

from collections.abc import Sequence
from typing import Any, Protocol

from actors.chat_window import ChatWindow, size_of
from actors.effects import FanOut
from actors.facts import Fact, Facts, MessagesAfter, MessagesBefore
from actors.limits import RoomLimits
from actors.messages import JoinRoom, ReadHistory, SendMessage
from cluster.kernel.errors import FENCED, INVALID_REQUEST, TOO_LARGE, FlowError
from cluster.kernel.ids import Room, is_id
from storage.records import Message


class Log(Protocol):
    """The part of a room's state that pages are made from."""

    epoch: int
    seq: int

    @property
    def room(self) -> Room: ...
    @property
    def window(self) -> ChatWindow: ...
    @property
    def limits(self) -> RoomLimits: ...


def check_body(body: SendMessage, limits: RoomLimits) -> None:
    """Raises FlowError for a message that may not be sent by anyone."""
    characters = len(body.text)
    if not 0 < characters <= limits.max_text_characters:
        raise FlowError(
            INVALID_REQUEST, f"text must have 1 to {limits.max_text_characters} characters.", fields=("text",)
        )
    if characters * 4 > limits.max_text_bytes and len(body.text.encode()) > limits.max_text_bytes:
        raise FlowError(TOO_LARGE, f"text must have at most {limits.max_text_bytes} bytes.", fields=("text",))
    if not 0 < len(body.client_message_id) <= limits.max_client_message_id_characters:
        longest = limits.max_client_message_id_characters
        raise FlowError(INVALID_REQUEST, f"clientMsgId must have 1 to {longest} characters.", fields=("clientMsgId",))
    if not is_id(body.id):
        raise FlowError(INVALID_REQUEST, "id must be an id.", fields=("id",))


def wire_message(message: Message) -> dict[str, Any]:
    """The body of `chat:new_message`."""
    return {
        "roomId": message.room_id,
        "seq": message.seq,
        "epoch": message.epoch,
        "id": message.id,
        "userId": message.user_id,
        "text": message.text,
        "ts": message.at_ms,
        "clientMsgId": message.client_message_id,
    }


def delivery(key: str, message: Message) -> FanOut:
    return FanOut(key=key, name="chat:new_message", body=wire_message(message), epoch=message.epoch, seq=message.seq)


# --- what was missed --------------------------------------------------------------------------------------------------


def _can_catch_up(log: Log, since: int, since_epoch: int | None) -> bool:
    from_the_future = since > log.seq or (since_epoch is not None and since_epoch > log.epoch)
    return not from_the_future and log.seq - since <= log.limits.catch_up_messages


def facts_to_catch_up(log: Log, since: int, since_epoch: int | None, facts: Facts) -> Sequence[Fact]:
    """Facts that `missed` still needs."""
    if since < 0:
        raise FlowError(INVALID_REQUEST, "since must not be negative.", fields=("since",))
    if since > log.seq:
        newer = _newer(log)
        return () if newer in facts else (newer,)
    if since == log.seq or not _can_catch_up(log, since, since_epoch) or log.window.after(since) is not None:
        return ()
    fact = MessagesAfter(log.room.id, since, log.limits.catch_up_messages)
    return () if fact in facts else (fact,)


def _newer(log: Log) -> MessagesAfter:
    return MessagesAfter(log.room.id, log.seq, 1)


def check_is_newest(log: Log, since: int | None, facts: Facts) -> None:
    """Raises FlowError FENCED when somebody has seen a message that this owner has not, and storage has it too: the
    owner before wrote once more after this one had read the room."""
    if since is not None and since > log.seq and facts.get(_newer(log)):
        raise FlowError(FENCED)


def missed(log: Log, since: int, since_epoch: int | None, facts: Facts) -> list[Message] | None:
    """Exactly the messages after `since`, or None when they cannot all be given."""
    if not _can_catch_up(log, since, since_epoch):
        return None
    if since == log.seq:
        return []
    messages = log.window.after(since)
    if messages is None:
        stored: list[Message] = facts[MessagesAfter(log.room.id, since, log.limits.catch_up_messages)]
        # The room went on while this was read; what came meanwhile is in the window.
        last = stored[-1].seq if stored else since
        messages = stored + (log.window.after(last) or [])
    whole = len(messages) == log.seq - since and messages[0].seq == since + 1 and messages[-1].seq == log.seq
    return messages if whole and _size(messages) <= log.limits.catch_up_bytes else None


def _size(messages: Sequence[Message]) -> int:
    return sum(map(size_of, messages))


# --- pages ------------------------------------------------------------------------------------------------------------


def facts_to_join(log: Log, body: JoinRoom, facts: Facts) -> Sequence[Fact]:
    """Facts that `page_to_join` still needs."""
    if body.since is not None:
        needs = facts_to_catch_up(log, body.since, body.since_epoch, facts)
        if needs:
            return needs
        if missed(log, body.since, body.since_epoch, facts) is not None:
            return ()
    return _facts_for_page(log, None, log.limits.page_messages, facts)


def page_to_join(log: Log, body: JoinRoom, facts: Facts) -> tuple[list[Message], bool]:
    """The messages of a join's answer, and whether they are exactly what was missed."""
    if body.since is not None:
        messages = missed(log, body.since, body.since_epoch, facts)
        if messages is not None:
            return messages, True
    return _page(log, None, log.limits.page_messages, facts), False


def facts_for_history(log: Log, body: ReadHistory, facts: Facts) -> Sequence[Fact]:
    """Facts that `history` still needs."""
    if not 1 <= body.limit <= log.limits.max_page_messages:
        raise FlowError(INVALID_REQUEST, f"limit must be 1 to {log.limits.max_page_messages}.", fields=("limit",))
    if body.before is not None and body.before < 1:
        raise FlowError(INVALID_REQUEST, "before must be at least 1.", fields=("before",))
    return _facts_for_page(log, body.before, body.limit, facts)


def history(log: Log, body: ReadHistory, facts: Facts) -> list[Message]:
    return _page(log, body.before, body.limit, facts)


def _facts_for_page(log: Log, before: int | None, limit: int, facts: Facts) -> Sequence[Fact]:
    if log.seq == 0 or log.window.before(before, limit) is not None:
        return ()
    fact = MessagesBefore(log.room.id, before, limit)
    return () if fact in facts else (fact,)


def _page(log: Log, before: int | None, limit: int, facts: Facts) -> list[Message]:
    if log.seq == 0:
        return []
    messages = log.window.before(before, limit)
    if messages is None:
        messages = facts[MessagesBefore(log.room.id, before, limit)]
    size = 0
    for index in range(len(messages) - 1, -1, -1):
        size += size_of(messages[index])
        if size > log.limits.catch_up_bytes:
            return messages[index + 1 :]
    return messages
