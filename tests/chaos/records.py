"""What a client writes down while it runs, and what the database holds at the end. JSON lines; the JavaScript clients
write the same.

`at` is CLOCK_MONOTONIC in seconds, one clock for all processes of a machine. The order of a client's lines is the order
in which it came to know things. An attempt that was asked and has no answer has an unknown outcome.
"""

from collections.abc import Iterator
from pathlib import Path

import msgspec


class Record(msgspec.Struct, frozen=True, tag_field="what", kw_only=True, omit_defaults=True):
    """One line of one client's history."""

    at: float


class Connected(Record, frozen=True, tag="connected"):
    """`connection` counts up. `recovered`: the server continued the connection before, joins included."""

    connection: int
    transport: str
    recovered: bool = False


class Disconnected(Record, frozen=True, tag="disconnected"):
    connection: int
    reason: str


class Asked(Record, frozen=True, tag="asked"):
    """An attempt leaves. `kind`: send, join, history, rsvp or watch; `place` is the room's or the event's id.

    `operation` is unique in the client; a retry is another `attempt` of the same operation. `key` is the clientMsgId.
    """

    operation: int
    attempt: int
    kind: str
    place: str
    connection: int = 0
    key: str = ""
    text: str = ""
    since: int | None = None
    status: str = ""


class Seen(msgspec.Struct, frozen=True, array_like=True):
    """One message as a client was shown it."""

    seq: int
    id: str
    key: str
    epoch: int
    user: str
    text: str


class Answered(Record, frozen=True, tag="answered"):
    """The attempt's answer. `code` is the error's, empty for success; the rest depends on the kind."""

    operation: int
    attempt: int
    code: str = ""
    retryable: bool = False
    id: str = ""
    seq: int = 0
    epoch: int = 0
    ts: int = 0
    recovered: bool = False
    messages: tuple[Seen, ...] = ()
    status: str = ""
    attending: int = 0
    rank: int | None = None


class GaveUp(Record, frozen=True, tag="gave_up"):
    """The client waits for this attempt no more; its outcome is unknown. An answer may still come."""

    operation: int
    attempt: int
    reason: str


class Delivered(Record, frozen=True, tag="delivered"):
    connection: int
    room: str
    message: Seen


class Resynced(Record, frozen=True, tag="resynced"):
    connection: int
    room: str
    epoch: int
    seq: int


class Counted(Record, frozen=True, tag="counted"):
    """An event's numbers as everyone who watches is told them."""

    event: str
    attending: int


class Finished(Record, frozen=True, tag="finished"):
    """The client has stopped of its own accord, in this state. `joined` are the rooms it then had."""

    is_connected: bool
    joined: tuple[str, ...]


AnyRecord = Connected | Disconnected | Asked | Answered | GaveUp | Delivered | Resynced | Counted | Finished

encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(AnyRecord).decode


class Client(msgspec.Struct, frozen=True):
    """Who wrote a history."""

    name: str
    user: str


class StoredRsvp(msgspec.Struct, frozen=True, kw_only=True):
    event: str
    user: str
    status: str
    seat: int | None = None
    place: int | None = None


class StoredMessage(msgspec.Struct, frozen=True, kw_only=True):
    room: str
    seq: int
    epoch: int
    id: str
    user: str
    key: str
    text: str


class Database(msgspec.Struct, frozen=True):
    """What was stored, read when everything was quiet. `capacity` of each event."""

    messages: tuple[StoredMessage, ...]
    rsvps: tuple[StoredRsvp, ...]
    capacity: dict[str, int]


def read(path: Path) -> Iterator[AnyRecord]:
    """A client's history, line by line; a last line that was cut off by the client's death is left out."""
    with path.open("rb") as file:
        for line in file:
            if line.endswith(b"\n"):
                yield _decode(line)
