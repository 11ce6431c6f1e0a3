"""The shapes that storage keeps, as the rest of the project sees them. No driver type appears here.

Times are integer milliseconds since the epoch. Coordinates are (longitude, latitude) in degrees. Records that a host
holds by the hundred thousand are not tracked by the garbage collector: they refer to nothing that could refer to them.
"""

from typing import Any, NamedTuple

import msgspec


class Message(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One chat message. (room_id, seq) and (room_id, user_id, client_message_id) are unique."""

    id: str
    room_id: str
    seq: int
    epoch: int
    user_id: str
    text: str
    at_ms: int
    client_message_id: str
    first: bool = False
    """The first of its epoch: it takes the place of the seal that its owner's claim left, and the seal's id."""


class RoomHead(msgspec.Struct, frozen=True, kw_only=True):
    """What an owner gets when it claims a chat room: its epoch, the last seq, the newest messages in order, and the id
    that its own first message must have."""

    room_id: str
    epoch: int
    seq: int
    window: tuple[Message, ...]
    sealed_id: str


class RoomRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A chat room's own document. `kind` is group, event or dm."""

    id: str
    kind: str
    name: str
    created_by: str
    created_at_ms: int


class AppendResult(msgspec.Struct, frozen=True):
    """How far an ordered batch got: `items[:stored]` are durable; `items[stored]` was refused for `refusal`, and
    nothing after it was tried. `refusal` is None when the whole batch is durable. Values: "position" (another owner
    wrote this seq, seat or place), "duplicate" (this idempotency key is already stored), "fenced" (a newer epoch owns
    the row)."""

    stored: int
    refusal: str | None = None


class Rsvp(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One person's answer to one event, written whole. `status`: going, waiting, interested or declined.

    A person who goes to an event with a capacity holds a `seat` of 1..max; (event_id, seat) is unique, and that index
    is what makes overselling impossible. One who waits holds a `place`; (event_id, place) is unique and orders the
    line. `promoted` marks the row of someone who came from the line to a seat.
    """

    event_id: str
    user_id: str
    status: str
    epoch: int
    at_ms: int
    seat: int | None = None
    place: int | None = None
    promoted: bool = False


class EventHead(msgspec.Struct, frozen=True, kw_only=True):
    """What an owner gets when it claims an event room. `capacity` is None when unlimited; `taken` are the seats held;
    `waiting` the people who wait, first first, with their places."""

    event_id: str
    epoch: int
    organizer_id: str
    title: str
    visibility: str
    starts_at_ms: int
    ends_at_ms: int
    capacity: int | None
    requirements: dict[str, Any]
    attending: int
    interested: int
    taken: tuple[int, ...]
    waiting: tuple[tuple[int, str], ...]


class Notification(msgspec.Struct, frozen=True, kw_only=True):
    """One in-app notification. `id` is derived from its cause, so the same cause never makes two."""

    id: str
    user_id: str
    type: str
    title: str
    body: str
    data: dict[str, str]
    at_ms: int
    epoch: int = 0
    read: bool = False


class User(msgspec.Struct, frozen=True, kw_only=True):
    """An account. `password_hash` never leaves the login path."""

    id: str
    username: str
    email: str | None
    password_hash: str
    name: str
    bio: str = ""
    avatar: str = ""
    interests: tuple[str, ...] = ()
    traits: tuple[str, ...] = ()
    coordinates: tuple[float, float] | None = None
    points: int = 0
    rating: float = 0.0
    roles: tuple[str, ...] = ()
    notification_preferences: dict[str, bool] = msgspec.field(default_factory=dict)
    privacy: dict[str, bool] = msgspec.field(default_factory=dict)
    """showBio, showLocation, showInterests: what strangers may see; a flag that is missing is off."""
    created_at_ms: int = 0


class Device(msgspec.Struct, frozen=True, kw_only=True):
    """A registration for push. `kind` is token or fid; (kind, value) is unique: the newest owner wins."""

    id: str
    user_id: str
    kind: str
    value: str
    platform: str
    last_seen_ms: int


class OutboxRow(msgspec.Struct, frozen=True, kw_only=True):
    """One push owed to one device. `id` is the dedupe key. `state`: pending, leased, sent, dead."""

    id: str
    user_id: str
    device_id: str
    notification_id: str
    title: str
    body: str
    data: dict[str, str]
    collapse_key: str
    badge: int
    attempts: int = 0
    due_ms: int = 0
    state: str = "pending"
    last_error: str = ""


class DeadCause(msgspec.Struct, frozen=True, kw_only=True):
    """A message or an answer whose notifications and analytics were given up after so many failures."""

    id: str
    failures: int
    last_error: str


class Debt(NamedTuple):
    """A message owes what follows from it, and stands at this place in the sequence of those that its host stored."""

    journal: str
    number: int


class OwedMessage(NamedTuple):
    """A stored message whose pushes have not been worked out yet; `number` in its journal, 0 when it is in none."""

    message: Message
    number: int = 0


class JournalMark(msgspec.Struct, frozen=True):
    """A host's journal that its host renews no more, under the lease that `lease` names: everything up to `settled` is
    worked out."""

    journal: str
    settled: int
    renewed_ms: int
    lease: str


class OwedRsvp(msgspec.Struct, frozen=True):
    """A stored answer whose notifications have not been worked out yet, under this worker's lease. `earlier`
    are answers of the same person that it replaced before they were settled."""

    rsvp: Rsvp
    earlier: tuple[Rsvp, ...] = ()


class AnalyticsEvent(msgspec.Struct, frozen=True, kw_only=True):
    """One act of one person that leaves no record of its own. `id` is derived from its cause. `kind`: rsvp; `subject`
    is the event; `action` the status that was answered."""

    id: str
    kind: str
    user_id: str
    subject: str
    action: str
    at_ms: int
