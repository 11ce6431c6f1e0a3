"""The rules of a chat room: who may join and send, in which order, and what a client that comes back has missed.

The host drives it (actors.runner). It promises that seq grows by one with each accepted message, that the same person's
same clientMsgId gets the same answer, and that what it holds stays within `RoomLimits`. Never I/O, clock or randomness.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final

from actors import chat_pages
from actors.chat_pages import check_body
from actors.chat_window import ChatWindow
from actors.effects import DONE, Effects, Envelope, FanOut, ReadMark, Row
from actors.facts import Admitted, Fact, Facts, Member, StoredMessage, Terms
from actors.limits import RoomLimits
from actors.messages import (
    MEMBERS_REMOVED,
    HistoryPage,
    JoinedRoom,
    JoinRoom,
    MarkRead,
    MembersChanged,
    Position,
    ReadHistory,
    Resumed,
    SendMessage,
    SentMessage,
    Typing,
)
from actors.ports import EventTerms
from actors.visibility import facts_to_see, may_see
from cluster.kernel.errors import (
    CLIENT_MESSAGE_ID_REUSED,
    EVENT_NOT_FOUND,
    FORBIDDEN,
    INVALID_REQUEST,
    NOT_A_MEMBER,
    FlowError,
)
from cluster.kernel.ids import Room, RoomKind
from storage.records import Message, RoomHead


class ChatRoom:
    """The state of one room and its `Machine`."""

    __slots__ = ("claimed_seq", "epoch", "key", "limits", "members", "newest_ms", "room", "sealed_id", "seq", "window")

    def __init__(self, room: Room, head: RoomHead, limits: RoomLimits) -> None:
        self.room = room
        self.key = f"chat/{room.id}"
        self.epoch = head.epoch
        self.seq = head.seq
        self.claimed_seq = head.seq
        """Where the log was sealed for this owner: the next message has `sealed_id`, as it takes the seal's place."""
        self.sealed_id = head.sealed_id
        self.limits = limits
        self.window = ChatWindow(head.window, limits.window_messages, limits.window_bytes)
        self.newest_ms = head.window[-1].at_ms if head.window else 0
        """When the newest message was sent: a clock that is set back does not make a later one look older."""
        self.members: dict[str, int] = {}
        """Known members and until when they are taken for such (ms); the least recently added first."""

    # --- asking -------------------------------------------------------------------------------------------------------

    def facts_needed(self, envelope: Envelope, facts: Facts) -> Sequence[Fact]:
        body = envelope.body
        kind = type(body)
        if kind is SendMessage:
            check_body(body, self.limits)
        elif kind is Position:
            return chat_pages.facts_to_catch_up(self, body.seq, None, facts)
        elif kind is MembersChanged:
            return ()
        needs = self._membership_needs(envelope, facts)
        if needs:
            return needs
        if kind is SendMessage:
            stored = StoredMessage(self.room.id, envelope.user, body.client_message_id)
            return (stored,) if envelope.duplicate and stored not in facts else ()
        if kind is JoinRoom:
            return chat_pages.facts_to_join(self, body, facts)
        if kind is ReadHistory:
            return chat_pages.facts_for_history(self, body, facts)
        return ()

    def _membership_needs(self, envelope: Envelope, facts: Facts) -> Sequence[Fact]:
        user = envelope.user
        if 0 < self.members.get(user, 0) - envelope.now_ms <= self.limits.membership_known_ms:
            return ()  # further ahead it is the clock that was set back
        if self.room.people is not None:
            if user not in self.room.people:
                raise FlowError(NOT_A_MEMBER)
            return ()
        member = Member(self.room.id, user)
        if member not in facts:
            return (member,)
        if facts[member]:
            return ()
        if self.room.event_id is None or type(envelope.body) is not JoinRoom:
            raise FlowError(NOT_A_MEMBER)
        return self._admission_needs(self.room.event_id, user, facts)

    def _admission_needs(self, event_id: str, user: str, facts: Facts) -> Sequence[Fact]:
        terms_fact = Terms(event_id)
        if terms_fact not in facts:
            return (terms_fact,)
        terms: EventTerms | None = facts[terms_fact]
        if terms is None:
            raise FlowError(EVENT_NOT_FOUND)
        needs = facts_to_see(terms.visibility, terms.organizer_id, event_id, user, facts)
        if needs:
            return needs
        if not may_see(terms.visibility, terms.organizer_id, event_id, user, facts):
            raise FlowError(FORBIDDEN)
        admitted = Admitted(self.room.id, user)
        return () if admitted in facts else (admitted,)

    # --- deciding -----------------------------------------------------------------------------------------------------

    def decide(self, envelope: Envelope, facts: Facts) -> Effects:
        effects = _DECISIONS[type(envelope.body)](self, envelope, facts)
        if facts and self.room.kind is not RoomKind.DIRECT:
            self._remember_member(envelope, facts)
        return effects

    def _remember_member(self, envelope: Envelope, facts: Facts) -> None:
        user = envelope.user
        if facts.get(Member(self.room.id, user)) or facts.get(Admitted(self.room.id, user)):
            self.members.pop(user, None)
            self.members[user] = envelope.now_ms + self.limits.membership_known_ms
            while len(self.members) > self.limits.known_members:
                del self.members[next(iter(self.members))]

    def send(self, envelope: Envelope, facts: Facts) -> Effects:
        body: SendMessage = envelope.body
        known = self.window.by_key(envelope.user, body.client_message_id)
        if known is None and envelope.duplicate:
            known = facts.get(StoredMessage(self.room.id, envelope.user, body.client_message_id))
            if known is None:
                raise FlowError(INVALID_REQUEST, "This id belongs to another message.", fields=("id",))
        if known is not None:
            if known.text != body.text:
                raise FlowError(CLIENT_MESSAGE_ID_REUSED)
            return Effects(SentMessage(id=known.id, seq=known.seq, epoch=known.epoch, ts=known.at_ms))
        first = self.seq == self.claimed_seq
        message = Message(
            id=self.sealed_id if first else body.id,
            room_id=self.room.id,
            seq=self.seq + 1,
            epoch=self.epoch,
            user_id=envelope.user,
            text=body.text,
            at_ms=max(envelope.now_ms, self.newest_ms),
            client_message_id=body.client_message_id,
            first=first,
        )
        self.seq = message.seq
        self.newest_ms = message.at_ms
        self.window.add(message)
        return Effects(
            SentMessage(id=message.id, seq=message.seq, epoch=message.epoch, ts=message.at_ms),
            rows=(message,),
            owed=(True,),
            fan_outs=(chat_pages.delivery(self.key, message),),
        )

    def join(self, envelope: Envelope, facts: Facts) -> Effects:
        chat_pages.check_is_newest(self, envelope.body.since, facts)
        messages, recovered = chat_pages.page_to_join(self, envelope.body, facts)
        wire = tuple(chat_pages.wire_message(message) for message in messages)
        return Effects(JoinedRoom(epoch=self.epoch, seq=self.seq, recovered=recovered, messages=wire))

    def resume(self, envelope: Envelope, facts: Facts) -> Effects:
        position: Position = envelope.body
        chat_pages.check_is_newest(self, position.seq, facts)
        missed = chat_pages.missed(self, position.seq, None, facts)
        return Effects(
            Resumed(
                key=self.key,
                epoch=self.epoch,
                seq=self.seq,
                missed=tuple(chat_pages.delivery(self.key, message) for message in missed or ()),
                reset=missed is None,
            )
        )

    def history(self, envelope: Envelope, facts: Facts) -> Effects:
        body: ReadHistory = envelope.body
        messages = chat_pages.history(self, body, facts)
        wire = tuple(chat_pages.wire_message(message) for message in messages)
        before = messages[0].seq if messages and messages[0].seq > 1 else None
        return Effects(HistoryPage(messages=wire, next_before=before))

    def typing(self, envelope: Envelope, facts: Facts) -> Effects:
        body = {"roomId": self.room.id, "userId": envelope.user, "isTyping": envelope.body.is_typing}
        delivery = FanOut(
            key=self.key, name="chat:user_typing", body=body, epoch=self.epoch, skip_connection=envelope.connection
        )
        return Effects(DONE, fan_outs=(delivery,), ungated=True)

    def read(self, envelope: Envelope, facts: Facts) -> Effects:
        seq = envelope.body.seq
        if not 0 <= seq <= self.seq:
            raise FlowError(INVALID_REQUEST, "There is no message with that seq.", fields=("seq",))
        body = {"roomId": self.room.id, "userId": envelope.user, "seq": seq}
        delivery = FanOut(key=self.key, name="chat:read_update", body=body, epoch=self.epoch)
        mark = ReadMark(self.room.id, envelope.user, seq)
        return Effects(DONE, fan_outs=(delivery,), mark=mark, ungated=True)

    def members_changed(self, envelope: Envelope, facts: Facts) -> Effects:
        for user in envelope.body.users:
            self.members.pop(user, None)
        if not envelope.body.removed:
            return Effects(DONE, ungated=True)
        body = {"roomId": self.room.id, "userIds": list(envelope.body.users)}
        return Effects(DONE, fan_outs=(FanOut(key=self.key, name=MEMBERS_REMOVED, body=body),), ungated=True)

    # --- life ---------------------------------------------------------------------------------------------------------

    def is_live(self) -> bool:
        return False

    def is_unsettled(self, now_ms: int) -> bool:
        return False

    def roll_back(self, refused: Row) -> bool:
        if not isinstance(refused, Message):
            return False
        self.window.drop_from(refused.seq)
        self.seq = refused.seq - 1
        return True

    def inherit(self, before: "ChatRoom") -> None:
        self.members = before.members

    def catch_up(self, seq: int) -> Sequence[FanOut] | None:
        if seq == self.seq:
            return ()
        messages = self.window.after(seq) if seq < self.seq else None
        return None if messages is None else [chat_pages.delivery(self.key, message) for message in messages]

    def trim(self) -> None:
        self.window.compact(self.limits.idle_window_messages, self.limits.idle_window_bytes)
        if len(self.members) > self.limits.idle_known_members:
            newest = list(self.members.items())[-self.limits.idle_known_members :]
            self.members = dict(newest)


_DECISIONS: Final[dict[type[Any], Callable[[ChatRoom, Envelope, Facts], Effects]]] = {
    SendMessage: ChatRoom.send,
    JoinRoom: ChatRoom.join,
    Position: ChatRoom.resume,
    ReadHistory: ChatRoom.history,
    Typing: ChatRoom.typing,
    MarkRead: ChatRoom.read,
    MembersChanged: ChatRoom.members_changed,
}
