"""The wire contract between edges and hosts, and between hosts: what travels on a link.

A request is a `Command` to one key, a `Resume` of many, or `Online`; a host pushes `Batch`es of `Delivery`. Bodies are
msgpack; every struct refuses unknown fields. The version is part of the link's handshake, so two builds that disagree
do not talk.
"""

from typing import Any, Final

import msgspec

METHOD_COMMAND: Final = "command"
METHOD_RESUME: Final = "resume"
METHOD_ONLINE: Final = "online"
NOTE_UNWATCH: Final = "unwatch"
PUSH_BATCH: Final = "batch"
PUSH_MOVED: Final = "moved"

MEMBERS_REMOVED: Final = "chat:members_removed"
"""A delivery for the edges and not for clients: `{roomId, userIds}` are members no more, and their watches end."""


class _Wire(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    pass


class Command(_Wire, frozen=True, kw_only=True):
    """One command to the actor `key`, answered with the reply struct that belongs to `name`, or with a FlowError.

    `watch` asks, when the command succeeds, that this edge gets the key's deliveries from here on: every delivery after
    the position in the reply follows on the same link. `view` is the version of the placement the caller used.
    """

    key: str
    name: str
    user: str
    connection: str = ""
    body: msgspec.Raw = msgspec.Raw(b"\x80")
    watch: bool = False
    view: int = 0


class Position(_Wire, frozen=True, kw_only=True):
    """Where a watcher of a key is. Chat: the last message's seq. Other kinds: the revision within the epoch."""

    key: str
    epoch: int
    seq: int


class Attachment(_Wire, frozen=True, kw_only=True):
    """A live connection of a person, told again after a link or a host was replaced."""

    user: str
    connection: str


class Resume(_Wire, frozen=True, kw_only=True):
    """Watch again after a link was lost. At most 256 positions and 256 attachments a request."""

    positions: tuple[Position, ...] = ()
    attachments: tuple[Attachment, ...] = ()
    view: int = 0


class Delivery(_Wire, frozen=True, kw_only=True):
    """One event for everyone on this edge who joined `key`.

    `seq` is 0 for what is not kept (typing, read marks, topics): it may be lost and never makes a gap. Otherwise the
    watcher must have seen `seq - 1` of this key, or it asks again with Resume. `name` is the client's event name.
    `skip_connection` does not get it. `skip_topics`: a connection in one of these topics got it already.
    """

    key: str
    name: str
    body: dict[str, Any]
    epoch: int = 0
    seq: int = 0
    skip_connection: str = ""
    skip_topics: tuple[str, ...] = ()


class Resumed(_Wire, frozen=True, kw_only=True):
    """The answer for one position: the deliveries missed, in order, or `reset` when they cannot all be given; the
    watcher then tells its clients `chat:resync` (or sends them the fresh snapshot in `missed`). `error` is the code
    when the key is gone."""

    key: str
    epoch: int
    seq: int
    missed: tuple[Delivery, ...] = ()
    reset: bool = False
    error: str = ""


class ResumeReply(_Wire, frozen=True, kw_only=True):
    items: tuple[Resumed, ...] = ()


class Batch(_Wire, frozen=True, kw_only=True):
    """Deliveries for one edge, in order."""

    deliveries: tuple[Delivery, ...]


class Moved(_Wire, frozen=True, kw_only=True):
    """These keys are no longer watched here: ask their owner with Resume. `view` is the newest placement this host
    knows; the owner may be this very host, when it had to read the key again."""

    keys: tuple[str, ...]
    view: int = 0


class Unwatch(_Wire, frozen=True, kw_only=True):
    """This edge has nobody left who joined these keys."""

    keys: tuple[str, ...]


class Online(_Wire, frozen=True, kw_only=True):
    """Which of these people have a live socket, by the sessions of this host? At most 500."""

    users: tuple[str, ...]


class OnlineReply(_Wire, frozen=True, kw_only=True):
    users: tuple[str, ...]


# --- commands to a chat room, and their replies -----------------------------------------------------------------------


class JoinRoom(_Wire, frozen=True, kw_only=True):
    """chat.join. With `since` (and the epoch it was seen in, if the client kept it) exactly the missed messages."""

    since: int | None = None
    since_epoch: int | None = None


class JoinedRoom(_Wire, frozen=True, kw_only=True):
    epoch: int
    seq: int
    recovered: bool
    messages: tuple[dict[str, Any], ...]


class SendMessage(_Wire, frozen=True, kw_only=True):
    """chat.send. `id` is made by the edge so that a retry inside the cluster cannot write twice."""

    id: str
    text: str
    client_message_id: str


class SentMessage(_Wire, frozen=True, kw_only=True):
    id: str
    seq: int
    epoch: int
    ts: int


class Typing(_Wire, frozen=True, kw_only=True):
    """chat.typing"""

    is_typing: bool


class MarkRead(_Wire, frozen=True, kw_only=True):
    """chat.read"""

    seq: int


class ReadHistory(_Wire, frozen=True, kw_only=True):
    """chat.history. `before` is a seq, None for the newest; `limit` 1 to 100."""

    before: int | None = None
    limit: int = 50


class HistoryPage(_Wire, frozen=True, kw_only=True):
    messages: tuple[dict[str, Any], ...]
    next_before: int | None = None


class MembersChanged(_Wire, frozen=True, kw_only=True):
    """chat.members_changed: these people were added to the room or taken out of it in storage. `removed` ends what they
    watch of it, on every edge."""

    users: tuple[str, ...]
    removed: bool = False


class Done(_Wire, frozen=True, kw_only=True):
    """The reply of a command that has nothing to say."""


# --- commands to an event room ----------------------------------------------------------------------------------------


class WatchEvent(_Wire, frozen=True, kw_only=True):
    """event.watch"""


class EventSnapshot(_Wire, frozen=True, kw_only=True):
    """Where the event stands: the reply of event.watch, and what event:rsvp_update says."""

    event_id: str
    epoch: int
    seq: int
    attending: int
    interested: int
    waiting: int
    capacity: int | None
    status: str | None = None


class ShowInterest(_Wire, frozen=True, kw_only=True):
    """event.interested"""


class AnswerRsvp(_Wire, frozen=True, kw_only=True):
    """event.rsvp. `status`: going, interested or declined."""

    status: str


class RsvpAnswer(_Wire, frozen=True, kw_only=True):
    """`status` may be waiting when the person asked to go to a full event; `place` is then the place in the line."""

    event_id: str
    status: str
    attending: int
    interested: int
    capacity: int | None
    place: int | None = None


class EventChanged(_Wire, frozen=True, kw_only=True):
    """event.changed: the document was changed in storage; read it again and tell the watchers `event:update`."""

    fields: tuple[str, ...] = ()


# --- commands to a user session ---------------------------------------------------------------------------------------


class AttachConnection(_Wire, frozen=True, kw_only=True):
    """session.attach: the command's `connection` is a live socket of the command's `user` on the calling edge."""


class Attached(_Wire, frozen=True, kw_only=True):
    epoch: int
    seq: int
    unread: int


class DetachConnection(_Wire, frozen=True, kw_only=True):
    """session.detach"""


class ListNotifications(_Wire, frozen=True, kw_only=True):
    """session.notifications"""

    before: str | None = None
    limit: int = 50


class NotificationPage(_Wire, frozen=True, kw_only=True):
    items: tuple[dict[str, Any], ...]
    unread: int
    next_before: str | None = None


class ReadNotification(_Wire, frozen=True, kw_only=True):
    """session.read"""

    id: str


class Unread(_Wire, frozen=True, kw_only=True):
    unread: int


class Notify(_Wire, frozen=True, kw_only=True):
    """session.notify, from the outbox relay. The same `id` again gives the same answer and no second notification."""

    id: str
    type: str
    title: str
    body: str
    data: dict[str, str]


class Notified(_Wire, frozen=True, kw_only=True):
    """`live`: the person has a socket now and has been told on it; no push is owed."""

    live: bool
    unread: int


# --- commands to a topic ----------------------------------------------------------------------------------------------


class WatchTopic(_Wire, frozen=True, kw_only=True):
    """topic.watch"""


class PublishToTopic(_Wire, frozen=True, kw_only=True):
    """topic.publish: tell everyone who watches this topic, once each, whatever other topics they watch."""

    name: str
    body: dict[str, Any]
    skip_topics: tuple[str, ...] = ()


COMMANDS: Final[dict[str, type[_Wire]]] = {
    "chat.join": JoinRoom,
    "chat.send": SendMessage,
    "chat.typing": Typing,
    "chat.read": MarkRead,
    "chat.history": ReadHistory,
    "chat.members_changed": MembersChanged,
    "event.watch": WatchEvent,
    "event.interested": ShowInterest,
    "event.rsvp": AnswerRsvp,
    "event.changed": EventChanged,
    "session.attach": AttachConnection,
    "session.detach": DetachConnection,
    "session.notifications": ListNotifications,
    "session.read": ReadNotification,
    "session.notify": Notify,
    "topic.watch": WatchTopic,
    "topic.publish": PublishToTopic,
}
