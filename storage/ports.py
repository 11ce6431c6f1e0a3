"""What actors may ask of storage, as guarantees. MongoDB implements all of it; tests hold any double to the same suite.

Durable means written by a majority and journalled. Every method raises FlowError UNAVAILABLE when the database is away
or does not answer within the settings' timeout; the outcome of a write is then unknown, and calling again with the same
ids is safe and settles it. Pages and batches are bounded by the caller's `limit`, at most 500.
"""

from collections.abc import Sequence
from typing import Any, Protocol

from storage.records import (
    AnalyticsEvent,
    AppendResult,
    Debt,
    Device,
    EventHead,
    JournalMark,
    Message,
    Notification,
    OutboxRow,
    OwedMessage,
    OwedRsvp,
    RoomHead,
    RoomRecord,
    Rsvp,
    User,
)


class ChatLog(Protocol):
    """Rooms and their messages. The unique (room, seq) is the fence between two owners of one room."""

    async def claim(self, room_id: str, kind: str, window: int, *, create: bool) -> RoomHead:
        """Take the room: its epoch goes up, and its log is sealed behind the newest message, durably, before this
        returns. Everything that any earlier owner was or will be told is stored is in the log by then; `window` are the
        newest messages of it. ROOM_NOT_FOUND when there is none and `create` is false (rooms of events and of two
        people are made on first use). UNAVAILABLE too when others claim it without end."""

    async def claim_many(self, room_ids: Sequence[str], window: int) -> dict[str, RoomHead]:
        """As `claim`, by the room's id, of those of these rooms that exist and that nobody else claims or writes to at
        that moment; in a few commands for all. Whoever is not in the answer is to be claimed alone. At most a batch."""

    async def append(self, messages: Sequence[Message], debts: Sequence[Debt | None]) -> AppendResult:
        """Write in order, durably, in one command. `debts[i]` marks message i as owing work, in the same document; who
        keeps the journal that it names answers for the work.
        The message right after a claim is `first` and has the head's `sealed_id`; the seal gives way to it alone.
        "fenced" when a newer owner's seal or message stands in its place. One already stored as itself, by the same
        owner, counts as stored."""

    async def by_client_message_id(self, room_id: str, user_id: str, client_message_id: str) -> Message | None: ...

    async def after(self, room_id: str, seq: int, limit: int) -> list[Message]:
        """Messages with a greater seq, lowest first."""

    async def before(self, room_id: str, seq: int | None, limit: int) -> list[Message]:
        """The newest messages with a smaller seq (None: the newest of all), lowest first."""

    async def room(self, room_id: str) -> RoomRecord | None: ...

    async def owed_of(self, journal: str, after: int, until: int | None, limit: int) -> list[OwedMessage]:
        """Messages of this journal with a number greater than `after` and at most `until` (None: any), lowest first;
        those that were put off or settled by themselves are not among them."""

    async def lease_owed(self, worker: str, now_ms: int, lease_ms: int, limit: int) -> list[OwedMessage]:
        """Messages that were put off and are under nobody's lease, now under this worker's."""

    async def settle_owed(self, message_ids: Sequence[str]) -> None:
        """These owe nothing any more."""

    async def put_off_owed(self, message_ids: Sequence[str], until_ms: int) -> None:
        """No journal answers for these any more: from `until_ms` on each can be leased by itself."""

    async def fail_owed(self, message_ids: Sequence[str], error: str) -> None:
        """What these owe, which were put off, could not be worked out. After eight failures they are dead letters,
        and leased no more."""


class Journals(Protocol):
    """How far the work that messages owe is done, one mark a host and life of it. A mark outlives its host by a day."""

    async def renew(self, journal: str, settled: int, now_ms: int, until_ms: int) -> None:
        """Durable. Everything up to `settled` is worked out, and until `until_ms` the rest is its host's. Whoever had
        leased it has it no more."""

    async def lease_lapsed(self, worker: str, now_ms: int, lease_ms: int) -> JournalMark | None:
        """One that nobody has, now this worker's until `now_ms + lease_ms`; None when there is none."""

    async def advance(self, mark: JournalMark, settled: int, until_ms: int) -> bool:
        """Everything up to `settled` is worked out, and nobody else has it until `until_ms`. False when the mark's
        lease is over: nothing is changed then."""


class Memberships(Protocol):
    """Who belongs to a chat room: one row a person and room, with a read mark."""

    async def is_member(self, room_id: str, user_id: str) -> bool: ...

    async def members_among(self, pairs: Sequence[tuple[str, str]]) -> set[tuple[str, str]]:
        """Those of these pairs of a room and a person of which the person is a member. At most 500."""

    async def add(self, room_id: str, user_ids: Sequence[str], now_ms: int) -> None:
        """Idempotent."""

    async def remove(self, room_id: str, user_id: str) -> None: ...

    async def members(
        self, room_ids: Sequence[str], after: tuple[str, str] | None, limit: int
    ) -> list[tuple[str, str]]:
        """Who belongs to any of these rooms, as (room, person) in order, from after the given pair. A page that is not
        full is the last."""

    async def rooms_of(self, user_id: str, after_room_id: str | None, limit: int) -> list[str]: ...

    async def mark_read(self, room_id: str, user_id: str, seq: int) -> None:
        """The mark never goes back."""


class RsvpLedger(Protocol):
    """Answers to events. Unique (event, seat) and (event, place) make overselling impossible, whoever writes."""

    async def claim(self, event_id: str) -> EventHead:
        """Take the event room: epoch up by one, durably, then counts, seats and line. EVENT_NOT_FOUND."""

    async def append(self, rsvps: Sequence[Rsvp], owed: Sequence[bool]) -> AppendResult:
        """Replace each person's row, in order, durably. "fenced" when a newer epoch owns the event or a row, or the
        event is gone; "position" when the seat or place is held by another person. Nothing of the refused row is kept,
        so what a later claim does not count was never stored. The same rsvp written again counts as stored."""

    async def rsvp(self, event_id: str, user_id: str) -> Rsvp | None: ...

    async def going(self, event_id: str, after_user_id: str | None, limit: int) -> list[str]: ...

    async def lease_owed(self, worker: str, now_ms: int, lease_ms: int, limit: int) -> list[OwedRsvp]:
        """Answers that owe, under nobody's lease, now under this worker's; each with up to 16 of those it replaced
        before they were settled."""

    async def settle_owed(self, rsvps: Sequence[Rsvp]) -> None: ...

    async def fail_owed(self, rsvps: Sequence[Rsvp], error: str) -> None:
        """As the chat log's. An answer that replaces one of these owes anew."""


class Notifications(Protocol):
    async def unread_of(self, user_ids: Sequence[str]) -> dict[str, int]:
        """How many each of these people has not read. Those who do not exist are left out."""

    async def append(self, notifications: Sequence[Notification]) -> AppendResult:
        """Write in order, durably; one already stored under its `id` is "duplicate"."""

    async def page(self, user_id: str, before_id: str | None, limit: int) -> list[Notification]:
        """Newest first by (time, id)."""

    async def mark_read(self, user_id: str, notification_id: str) -> bool:
        """True when it was unread. NOT_FOUND when it is not this person's."""

    async def unread(self, user_id: str) -> int: ...


class Users(Protocol):
    async def create(self, user: User) -> None:
        """USERNAME_TAKEN when the username or the email exists, compared without case."""

    async def by_id(self, user_id: str) -> User | None: ...

    async def by_username(self, username: str) -> User | None: ...

    async def by_ids(self, user_ids: Sequence[str]) -> list[User]: ...

    async def update_profile(self, user_id: str, changes: dict[str, Any]) -> User: ...

    async def set_password_hash(self, user_id: str, password_hash: str) -> None: ...


class Devices(Protocol):
    async def register(self, device: Device) -> None: ...

    async def remove(self, device_id: str) -> None: ...

    async def remove_for_user(self, user_id: str, value: str) -> None: ...

    async def of_users(self, user_ids: Sequence[str]) -> list[Device]:
        """At most 20 a person, the most recently seen first."""

    async def by_id(self, device_id: str) -> Device | None: ...


class Analytics(Protocol):
    """What people did and left no other record of, for whoever counts it later. Kept for a bounded time."""

    async def record(self, events: Sequence[AnalyticsEvent]) -> int:
        """Durable; events whose id exists are left alone. Returns how many are new."""


class Outbox(Protocol):
    """Pushes owed to devices: at least once, deduplicated by row id."""

    async def add(self, rows: Sequence[OutboxRow]) -> int:
        """Durable; rows whose id exists, in whatever state, are left alone. Returns how many are new."""

    async def lease(self, worker: str, now_ms: int, lease_ms: int, limit: int) -> list[OutboxRow]: ...

    async def sent(self, row_ids: Sequence[str], now_ms: int) -> None: ...

    async def retry(self, row_id: str, due_ms: int, error: str) -> None:
        """One more attempt counted; due again at `due_ms`."""

    async def bury(self, row_id: str, error: str, now_ms: int) -> None:
        """A dead letter, kept for an operator."""

    async def dead(self, after_id: str | None, limit: int) -> list[OutboxRow]: ...

    async def replay(self, row_ids: Sequence[str], now_ms: int) -> int: ...

    async def statistics(self) -> dict[str, int]:
        """Rows by state."""
