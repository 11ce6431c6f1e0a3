"""Every index of every collection, as data. `storage/indexes.py` makes them; the collections rely on them.

The unique ones are guarantees: two owners of a room, an oversold event and a repeated import all end at one of them.
`friends` and `members` of users and groups are collections of their own here, so their indexes stand there.
"""

from dataclasses import dataclass, field
from typing import Any, Final

Keys = tuple[tuple[str, int | str], ...]


@dataclass(frozen=True, slots=True)
class IndexSpec:
    """One index. `partial` indexes only the documents that match; `expire` deletes a document when its date is past."""

    collection: str
    keys: Keys
    unique: bool = False
    partial: dict[str, Any] = field(default_factory=dict)
    expire: bool = False

    @property
    def name(self) -> str:
        """The name that MongoDB itself would give it."""
        return "_".join(f"{name}_{kind}" for name, kind in self.keys)

    def options(self) -> dict[str, Any]:
        options: dict[str, Any] = {"name": self.name}
        if self.unique:
            options["unique"] = True
        if self.partial:
            options["partialFilterExpression"] = self.partial
        if self.expire:
            options["expireAfterSeconds"] = 0
        return options


def _index(
    collection: str,
    *keys: str,
    unique: bool = False,
    partial: dict[str, Any] | None = None,
    expire: bool = False,
) -> IndexSpec:
    """A key is a field, `-field` for descending, or `field:kind` for 2dsphere and text."""
    parsed: list[tuple[str, int | str]] = []
    for key in keys:
        name, _, kind = key.partition(":")
        if kind:
            parsed.append((name, kind))
        else:
            parsed.append((name.removeprefix("-"), -1 if name.startswith("-") else 1))
    return IndexSpec(collection, tuple(parsed), unique, partial or {}, expire)


_OWED: Final = {"owed.until_ms": {"$exists": True}}
_NUMBERED: Final = {"owed.number": {"$exists": True}}
_DEAD: Final = {"owed.dead": {"$exists": True}}

INDEXES: Final[tuple[IndexSpec, ...]] = (
    # People
    _index("users", "profile.location:2dsphere"),
    _index("users", "email", unique=True, partial={"email": {"$type": "string"}}),
    _index("users", "usernameLower", unique=True),
    _index("friendships", "user_id", "kind", "friend_id", unique=True),
    _index("friendships", "friend_id", "kind", "user_id"),
    _index("devices", "kind", "value", unique=True),
    _index("devices", "user_id", "-last_seen_ms"),
    _index("refresh_tokens", "expires_at", expire=True),
    _index("refresh_families", "expires_at", expire=True),
    _index("refresh_families", "user_id"),
    # Events
    _index("events", "location:2dsphere"),
    _index("events", "category", "datetime.start"),
    _index("events", "tags"),
    _index("events", "datetime.start"),
    _index("events", "title:text", "description:text", "tags:text"),
    _index("events", "datetime.start", "_id"),
    _index("events", "category", "datetime.start", "_id"),
    _index("events", "tags", "datetime.start", "_id"),
    _index("events", "datetime.end", "_id"),
    _index("events", "updatedAt", "_id"),
    _index(
        "events",
        "source.platform",
        "source.externalId",
        unique=True,
        partial={"source.externalId": {"$type": "string"}},
    ),
    _index("rsvps", "event_id", "user_id", unique=True),
    _index("rsvps", "event_id", "seat", unique=True, partial={"seat": {"$exists": True}}),
    _index("rsvps", "event_id", "place", unique=True, partial={"place": {"$exists": True}}),
    _index("rsvps", "event_id", "status", "user_id"),
    _index("rsvps", "user_id", "status"),
    _index("rsvps", "at_ms", "event_id", "status"),
    _index("rsvps", "owed.until_ms", partial=_OWED),
    _index("rsvps", "owed.dead", "_id", partial=_DEAD),
    _index("invitations", "event_id", "user_id", unique=True),
    _index("interactions", "user_id", "event_id", "action", "at_ms", unique=True),
    _index("interactions", "user_id", "-at_ms"),
    _index("interactions", "at_ms", "event_id", "weight"),
    _index("exposures", "experiment", "version", "unit", unique=True),
    _index("blocks", "user_id", "blocked_id", unique=True),
    _index("blocks", "blocked_id", "user_id"),
    # Groups and chat
    _index("groups", "location:2dsphere"),
    _index("groups", "category"),
    _index("memberships", "room_id", "user_id", unique=True),
    _index("memberships", "user_id", "room_id"),
    _index("messages", "room_id", "seq", unique=True),
    _index("messages", "room_id", "user_id", "client_message_id", unique=True),
    _index("messages", "owed.until_ms", partial=_OWED),
    _index("messages", "owed.dead", "_id", partial=_DEAD),
    _index("messages", "owed.journal", "owed.number", partial=_NUMBERED),
    _index("journals", "until_ms"),
    _index("journals", "expires_at", expire=True),
    # What people are told
    _index("notifications", "user_id", "-at_ms", "-_id"),
    _index("notifications", "user_id", partial={"read": False}),
    _index("outbox", "state", "due_ms", "_id"),
    _index("outbox", "state", "_id"),
    _index("outbox", "expires_at", expire=True),
    _index("notifications", "expires_at", expire=True),
    _index("analytics_events", "expires_at", expire=True),
    _index("analytics_events", "kind", "at_ms"),
)
