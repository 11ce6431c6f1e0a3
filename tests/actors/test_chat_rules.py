"""The chat room's rules under any interleaving: dense seq, stable dedupe, exact catch-up, bounded memory."""

from contextlib import nullcontext
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from actors.chat_room import ChatRoom
from actors.effects import Envelope
from actors.facts import Admitted, Fact, Invited, Member, MessagesAfter, MessagesBefore, OwnRsvp, StoredMessage, Terms
from actors.limits import RoomLimits
from actors.messages import (
    JoinRoom,
    MarkRead,
    MembersChanged,
    Position,
    ReadHistory,
    SendMessage,
    Typing,
)
from actors.ports import EventTerms
from cluster.kernel.errors import (
    CLIENT_MESSAGE_ID_REUSED,
    EVENT_NOT_FOUND,
    FORBIDDEN,
    INVALID_REQUEST,
    NOT_A_MEMBER,
    FlowError,
)
from cluster.kernel.ids import parse_room
from storage.records import Message, RoomHead
from tests.actors.rules import decide

ROOM = "a" * 24
LIMITS = RoomLimits(
    window_messages=6,
    window_bytes=4_000,
    idle_window_messages=2,
    load_window_messages=3,
    page_messages=4,
    max_page_messages=8,
    catch_up_messages=12,
    known_members=3,
)
PEOPLE = [f"{n}" * 24 for n in "123"]


class Log:
    """What storage would hold of one room."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.members = set(PEOPLE)
        self.epoch = 0

    def claim(self) -> RoomHead:
        self.epoch += 1
        window = tuple(self.messages[-LIMITS.load_window_messages :])
        seal = f"5ea1{self.epoch:020x}"
        return RoomHead(room_id=ROOM, epoch=self.epoch, seq=len(self.messages), window=window, sealed_id=seal)

    def find(self, fact: Fact) -> Any:
        match fact:
            case Member(user_id=user):
                return user in self.members
            case StoredMessage(user_id=user, client_message_id=key):
                return self.by_key(user, key)
            case MessagesAfter(seq=seq, limit=limit):
                return self.messages[seq : seq + limit]
            case MessagesBefore(seq=seq, limit=limit):
                return self.messages[: len(self.messages) if seq is None else seq - 1][-limit:]
        raise AssertionError(fact)

    def by_key(self, user: str, key: str) -> Message | None:
        return next((m for m in self.messages if (m.user_id, m.client_message_id) == (user, key)), None)


class ChatRules(RuleBasedStateMachine):
    """Every accepted row becomes durable at once, unless its idempotency key is stored: then it is refused."""

    @initialize()
    def begin(self) -> None:
        self.log = Log()
        self.answers: dict[tuple[str, str], Any] = {}
        self.ids = 0
        self.load()

    def load(self) -> None:
        self.head = self.log.claim()
        self.room = ChatRoom(parse_room(ROOM), self.head, LIMITS)

    def ask(self, body: Any, user: str = PEOPLE[0]) -> Any:
        return decide(self.room, Envelope(body, user, "c1", "e1", now_ms=1_000), self.log.find)

    @rule(user=st.sampled_from(PEOPLE), key=st.integers(0, 25), text=st.sampled_from(["a", "b", "c" * 900]))
    def send(self, user: str, key: int, text: str) -> None:
        self.ids += 1
        body = SendMessage(id=f"{self.ids:024x}", text=text, client_message_id=f"k{key}")
        envelope = Envelope(body, user, now_ms=1_000)
        stored = self.log.by_key(user, f"k{key}")
        if stored is not None:
            self.send_again(envelope, stored)
            return
        effects = decide(self.room, envelope, self.log.find)
        (message,) = effects.rows
        assert message.seq == len(self.log.messages) + 1
        assert message.first == (message.seq == self.head.seq + 1)
        assert message.id == (self.head.sealed_id if message.first else body.id)
        assert effects.fan_outs[0].body["id"] == message.id
        assert [fan_out.seq for fan_out in effects.fan_outs] == [message.seq]
        assert (effects.reply.id, effects.reply.seq, effects.reply.epoch) == (message.id, message.seq, self.log.epoch)
        self.log.messages.append(message)
        self.answers[user, f"k{key}"] = effects.reply

    def send_again(self, envelope: Envelope, stored: Message) -> None:
        """Whether the room still knows it or only storage does: the same answer, or a refusal for another text."""
        with pytest.raises(FlowError) if stored.text != envelope.body.text else nullcontext() as refused:
            effects = decide(self.room, envelope, self.log.find)
            if effects.rows:
                assert self.room.roll_back(effects.rows[0])
                envelope.duplicate = True
                effects = decide(self.room, envelope, self.log.find)
            assert not effects.rows
            assert not effects.fan_outs
            assert effects.reply == self.answers[stored.user_id, stored.client_message_id]
        assert refused is None or refused.value.kind is CLIENT_MESSAGE_ID_REUSED

    @rule(since=st.integers(0, 40), epoch=st.none() | st.integers(0, 4))
    def join_since(self, since: int, epoch: int | None) -> None:
        reply = self.ask(JoinRoom(since=since, since_epoch=epoch)).reply
        missed = [m.seq for m in self.log.messages[since:]]
        newest = len(self.log.messages)
        is_future = since > newest or (epoch is not None and epoch > self.log.epoch)
        assert (reply.epoch, reply.seq) == (self.log.epoch, newest)
        assert reply.recovered == (not is_future and len(missed) <= LIMITS.catch_up_messages)
        page = [m.seq for m in self.log.messages[-LIMITS.page_messages :]]
        assert [m["seq"] for m in reply.messages] == (missed if reply.recovered else page)

    @rule()
    def join_fresh(self) -> None:
        reply = self.ask(JoinRoom()).reply
        assert not reply.recovered
        assert [m["seq"] for m in reply.messages] == [m.seq for m in self.log.messages[-LIMITS.page_messages :]]

    @rule(seq=st.integers(0, 40))
    def resume(self, seq: int) -> None:
        reply = self.ask(Position(key=self.room.key, epoch=0, seq=seq), user="").reply
        missed = [m.seq for m in self.log.messages[seq:]]
        assert reply.reset == (seq > len(self.log.messages) or len(missed) > LIMITS.catch_up_messages)
        assert [d.seq for d in reply.missed] == ([] if reply.reset else missed)

    @rule(before=st.none() | st.integers(1, 40), limit=st.integers(1, LIMITS.max_page_messages))
    def history(self, before: int | None, limit: int) -> None:
        reply = self.ask(ReadHistory(before=before, limit=limit)).reply
        whole = self.log.messages if before is None else self.log.messages[: before - 1]
        assert [m["seq"] for m in reply.messages] == [m.seq for m in whole[-limit:]]
        assert reply.next_before == (whole[-limit].seq if len(whole) > limit else None)

    @rule()
    def reload(self) -> None:
        before, seen = self.room, self.room.seq
        self.load()
        self.room.inherit(before)
        assert list(self.room.catch_up(seen) or ()) == []

    @rule()
    def trim(self) -> None:
        self.room.trim()
        assert len(self.room.window) <= LIMITS.idle_window_messages

    @invariant()
    def is_dense_and_bounded(self) -> None:
        assert [m.seq for m in self.log.messages] == list(range(1, len(self.log.messages) + 1))
        assert self.room.seq == len(self.log.messages)
        assert len(self.room.window) <= LIMITS.window_messages
        assert self.room.window.size_bytes <= LIMITS.window_bytes
        assert len(self.room.members) <= LIMITS.known_members


ChatRules.TestCase.settings = settings(max_examples=80, stateful_step_count=40, deadline=None)
TestChatRules = ChatRules.TestCase


# --- single rules -----------------------------------------------------------------------------------------------------


@pytest.fixture
def log() -> Log:
    return Log()


def room_of(log: Log, limits: RoomLimits = LIMITS) -> ChatRoom:
    return ChatRoom(parse_room(ROOM), log.claim(), limits)


def send(text: str = "hello", key: str = "k", message_id: str = "0" * 24) -> SendMessage:
    return SendMessage(id=message_id, text=text, client_message_id=key)


@pytest.mark.parametrize(
    "body",
    [
        send(text=""),
        send(text="x" * 4_001),
        send(key=""),
        send(key="k" * 129),
        send(message_id="no id"),
        JoinRoom(since=-1),
        ReadHistory(limit=0),
        ReadHistory(limit=9),
        ReadHistory(before=0),
        MarkRead(seq=1),
        MarkRead(seq=-1),
    ],
)
def test_a_body_out_of_bounds_is_refused(log: Log, body: Any) -> None:
    with pytest.raises(FlowError) as caught:
        decide(room_of(log), Envelope(body, PEOPLE[0]), log.find)
    assert caught.value.kind is INVALID_REQUEST
    assert caught.value.fields


def test_text_is_bounded_in_bytes_too(log: Log) -> None:
    limits = RoomLimits(max_text_bytes=100)
    decide(room_of(log, limits), Envelope(send(text="x" * 100), PEOPLE[0]), log.find)
    with pytest.raises(FlowError, match="100 bytes"):
        decide(room_of(log, limits), Envelope(send(text="é" * 60), PEOPLE[0]), log.find)


@pytest.mark.parametrize("body", [send(), JoinRoom(), Typing(is_typing=True), MarkRead(seq=0), ReadHistory()])
def test_who_is_no_member_may_do_nothing(log: Log, body: Any) -> None:
    with pytest.raises(FlowError) as caught:
        decide(room_of(log), Envelope(body, "9" * 24), log.find)
    assert caught.value.kind is NOT_A_MEMBER


def test_a_direct_room_is_for_its_two_people(log: Log) -> None:
    first, second, other = PEOPLE
    room = ChatRoom(parse_room(f"dm:{first}:{second}"), log.claim(), LIMITS)
    assert decide(room, Envelope(send(), first), log.find).rows
    with pytest.raises(FlowError) as caught:
        decide(room, Envelope(JoinRoom(), other), log.find)
    assert caught.value.kind is NOT_A_MEMBER


def test_who_was_taken_out_is_asked_about_again(log: Log) -> None:
    room = room_of(log)
    decide(room, Envelope(send(), PEOPLE[0], now_ms=1), log.find)
    log.members.remove(PEOPLE[0])
    decide(room, Envelope(send(key="k2"), PEOPLE[0], now_ms=2), log.find)
    decide(room, Envelope(MembersChanged(users=(PEOPLE[0],)), "", now_ms=3), log.find)
    with pytest.raises(FlowError) as caught:
        decide(room, Envelope(send(key="k3"), PEOPLE[0], now_ms=4), log.find)
    assert caught.value.kind is NOT_A_MEMBER


def test_a_known_member_is_not_known_for_ever(log: Log) -> None:
    room = room_of(log)
    decide(room, Envelope(send(), PEOPLE[0], now_ms=1), log.find)
    log.members.remove(PEOPLE[0])
    with pytest.raises(FlowError):
        decide(room, Envelope(send(key="k2"), PEOPLE[0], now_ms=2 + LIMITS.membership_known_ms), log.find)


def sent_at(room: ChatRoom, log: Log, key: str, now_ms: int) -> int:
    effects = decide(room, Envelope(send(key=key), PEOPLE[0], now_ms=now_ms), log.find)
    log.messages += effects.rows  # type: ignore[arg-type]
    assert effects.reply.ts == log.messages[-1].at_ms
    return log.messages[-1].at_ms


def test_a_clock_that_jumps_makes_no_later_message_look_older(log: Log) -> None:
    room = room_of(log)
    assert [sent_at(room, log, f"k{n}", now) for n, now in enumerate((500, 100, 900, 1))] == [500, 500, 900, 900]
    room.window.shrink(0, 0)
    assert sent_at(room, log, "k4", 2) == 900, "not even when the window is gone"
    assert sent_at(room_of(log), log, "k5", 3) == 900, "nor on another owner"
    assert sent_at(room, log, "k6", 901) == 901


def test_a_clock_that_is_set_back_keeps_nobody_a_member(log: Log) -> None:
    room = room_of(log)
    decide(room, Envelope(send(), PEOPLE[0], now_ms=10_000_000), log.find)
    log.members.remove(PEOPLE[0])
    with pytest.raises(FlowError) as caught:
        decide(room, Envelope(send(key="k2"), PEOPLE[0], now_ms=5_000), log.find)
    assert caught.value.kind is NOT_A_MEMBER


def test_typing_is_told_to_others_at_once_and_leaves_no_gap(log: Log) -> None:
    effects = decide(room_of(log), Envelope(Typing(is_typing=True), PEOPLE[0], "c9"), log.find)
    (told,) = effects.fan_outs
    assert (told.name, told.seq, told.skip_connection) == ("chat:user_typing", 0, "c9")
    assert told.body == {"roomId": ROOM, "userId": PEOPLE[0], "isTyping": True}
    assert effects.ungated
    assert not effects.rows


class EventChat:
    """Facts of an event's chat."""

    def __init__(self, visibility: str | None, *, invited: bool = False) -> None:
        self.visibility = visibility
        self.invited = invited
        self.admitted: list[str] = []

    def find(self, fact: Fact) -> Any:
        match fact:
            case Member(user_id=user):
                return user in self.admitted
            case Terms(event_id=event):
                if self.visibility is None:
                    return None
                return EventTerms(
                    event_id=event,
                    organizer_id="f" * 24,
                    visibility=self.visibility,
                    ends_at_ms=0,
                    capacity=None,
                    requirements={},
                )
            case Invited():
                return self.invited
            case OwnRsvp():
                return None
            case Admitted(user_id=user):
                self.admitted.append(user)
                return True
        raise AssertionError(fact)


def event_chat(log: Log) -> ChatRoom:
    return ChatRoom(parse_room("event:" + "e" * 24), log.claim(), LIMITS)


def test_whoever_may_see_an_event_becomes_a_member_of_its_chat_by_joining(log: Log) -> None:
    room, facts = event_chat(log), EventChat("public")
    with pytest.raises(FlowError) as caught:
        decide(room, Envelope(send(), PEOPLE[0]), facts.find)
    assert caught.value.kind is NOT_A_MEMBER
    decide(room, Envelope(JoinRoom(), PEOPLE[0], now_ms=1), facts.find)
    assert facts.admitted == [PEOPLE[0]]
    assert decide(room, Envelope(send(), PEOPLE[0], now_ms=2), facts.find).rows


@pytest.mark.parametrize(
    ("facts", "user", "refusal"),
    [
        (EventChat("private"), PEOPLE[0], FORBIDDEN),
        (EventChat("group-only"), PEOPLE[0], FORBIDDEN),
        (EventChat("private", invited=True), PEOPLE[0], None),
        (EventChat("private"), "f" * 24, None),
        (EventChat(None), PEOPLE[0], EVENT_NOT_FOUND),
    ],
)
def test_the_chat_of_an_event_is_as_visible_as_the_event(log: Log, facts: EventChat, user: str, refusal: Any) -> None:
    room = event_chat(log)
    if refusal is None:
        decide(room, Envelope(JoinRoom(), user), facts.find)
        assert facts.admitted == [user]
        return
    with pytest.raises(FlowError) as caught:
        decide(room, Envelope(JoinRoom(), user), facts.find)
    assert caught.value.kind is refusal
    assert facts.admitted == []
