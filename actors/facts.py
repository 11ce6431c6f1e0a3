"""Facts: what a machine may need from storage before it can decide, as questions with one answer each.

A machine names facts, the host finds them and asks the machine again. `after_commits` marks what depends on rows that
may still be on their way, so the host lets those land first. `ahead` marks what may be asked before the commands in
front are decided, because the state, where it knows better, wins.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar


@dataclass(frozen=True, slots=True)
class Fact:
    after_commits: ClassVar[bool] = False
    ahead: ClassVar[bool] = True


Facts = Mapping[Fact, Any]
"""Answers by question."""

NO_FACTS: Facts = {}


@dataclass(frozen=True, slots=True)
class Member(Fact):
    """bool: is this person a member of the room?"""

    room_id: str
    user_id: str


@dataclass(frozen=True, slots=True)
class Admitted(Fact):
    """True, once this person has been made a member of the room."""

    ahead: ClassVar[bool] = False
    room_id: str
    user_id: str


@dataclass(frozen=True, slots=True)
class StoredMessage(Fact):
    """Message or None: what was stored under this person's clientMsgId."""

    after_commits: ClassVar[bool] = True
    ahead: ClassVar[bool] = False
    room_id: str
    user_id: str
    client_message_id: str


@dataclass(frozen=True, slots=True)
class MessagesAfter(Fact):
    """list[Message]: up to `limit` with a greater seq, lowest first."""

    after_commits: ClassVar[bool] = True
    ahead: ClassVar[bool] = False
    room_id: str
    seq: int
    limit: int


@dataclass(frozen=True, slots=True)
class MessagesBefore(Fact):
    """list[Message]: the newest with a smaller seq (None: the newest of all), lowest first."""

    after_commits: ClassVar[bool] = True
    ahead: ClassVar[bool] = False
    room_id: str
    seq: int | None
    limit: int


@dataclass(frozen=True, slots=True)
class Terms(Fact):
    """EventTerms or None: an event's conditions as they are in storage now."""

    event_id: str


@dataclass(frozen=True, slots=True)
class WireEvent(Fact):
    """dict or None: the event in the form clients see."""

    event_id: str


@dataclass(frozen=True, slots=True)
class Invited(Fact):
    """bool: has this person been invited to the event?"""

    event_id: str
    user_id: str


@dataclass(frozen=True, slots=True)
class OwnRsvp(Fact):
    """Rsvp or None: this person's answer."""

    after_commits: ClassVar[bool] = True
    event_id: str
    user_id: str


@dataclass(frozen=True, slots=True)
class RsvpNow(Fact):
    """Rsvp or None: this person's answer once every command before has landed, to prove that memory is still true."""

    after_commits: ClassVar[bool] = True
    ahead: ClassVar[bool] = False
    event_id: str
    user_id: str


@dataclass(frozen=True, slots=True)
class Person(Fact):
    """User or None."""

    user_id: str


@dataclass(frozen=True, slots=True)
class NotificationsPage(Fact):
    """list[Notification], newest first."""

    after_commits: ClassVar[bool] = True
    ahead: ClassVar[bool] = False
    user_id: str
    before_id: str | None
    limit: int


@dataclass(frozen=True, slots=True)
class MarkedRead(Fact):
    """bool, once the notification is marked read: was it unread? Fails with NOT_FOUND."""

    after_commits: ClassVar[bool] = True
    ahead: ClassVar[bool] = False
    user_id: str
    notification_id: str
