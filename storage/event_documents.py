"""The form of event documents: complete in storage, tidy on the wire, and recognisable when they are imported again.

Used by the events collection and by whoever shows an event. Pure. It promises that the wire form has no `_id`, no
internal field and no driver type. It never validates what a client sent.
"""

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from cluster.kernel.errors import INVALID_REQUEST, FlowError

Document = dict[str, Any]

_DEFAULTS: Final[Document] = {
    "description": "",
    "category": "other",
    "tags": [],
    "location": None,
    "pricing": {"type": "free"},
    "capacity": {"max": None},
    "visibility": "public",
    "requirements": {},
    "media": {"images": [], "videos": []},
}
CHANGEABLE: Final = frozenset({*_DEFAULTS, "title", "datetime", "organizer", "url", "online"})
"""The fields that a change of an event may name."""

INTERNAL: Final = frozenset({"room", "owed"})


def complete(document: Mapping[str, Any]) -> Document:
    """A copy with every field of an event present, in the types that BSON keeps.

    Raises FlowError INVALID_REQUEST when there is no title or no start and end.
    """
    times = document.get("datetime") or {}
    if not document.get("title") or not isinstance(times.get("start"), datetime):
        raise FlowError(INVALID_REQUEST, "An event needs a title and a start.", fields=("title", "datetime"))
    if not isinstance(times.get("end"), datetime):
        raise FlowError(INVALID_REQUEST, "An event needs an end.", fields=("datetime",))
    whole = {name: plain(value) for name, value in document.items()}
    for name, value in _DEFAULTS.items():
        if whole.get(name) is None:
            whole[name] = plain(value)
    whole["datetime"].setdefault("timezone", "UTC")
    return whole


def plain(value: Any) -> Any:
    """A copy in BSON's types: tuples become lists, dates lose what is below a millisecond."""
    if isinstance(value, Mapping):
        return {str(name): plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, datetime):
        aware = value if value.tzinfo is not None else value.replace(tzinfo=UTC)
        return aware.astimezone(UTC).replace(microsecond=aware.microsecond // 1000 * 1000)
    return value


def to_wire(document: Mapping[str, Any]) -> Document:
    """The event as clients see it: `id`, ISO 8601 dates with a Z, nothing internal."""
    wire: Document = {"id": document["_id"]}
    for name, value in document.items():
        if name != "_id" and name not in INTERNAL:
            wire[name] = _wire(value)
    if isinstance(wire.get("source"), dict):
        wire["source"].pop("fingerprint", None)
    return wire


def _wire(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _wire(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_wire(item) for item in value]
    if isinstance(value, datetime):
        aware = value if value.tzinfo is not None else value.replace(tzinfo=UTC)
        return aware.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return value


def fingerprint(document: Mapping[str, Any]) -> str:
    """The same text for the same content, whatever the order of its fields."""
    content = {name: value for name, value in document.items() if name != "source"}
    packed = msgspec.msgpack.encode(plain(content), order="deterministic")
    return hashlib.sha256(packed).hexdigest()
