"""Connection state recovery: where one connection is in all its rooms, and the right to its id, kept by its client.

The official client keeps two strings for each namespace: the `pid` of the CONNECT, and the last argument of the last
event that ended in a string. Here the first proves who was given which socket id, and the second is the whole state:
each joined room with its position, as of the very event that carried it. So no process has to remember anything for a
client that is away, and any edge can take it back, whatever died meanwhile. Pure. It decides nothing about deliveries;
whether the rooms may be entered and what was missed is asked of the rooms.
"""

import base64
import hashlib
import hmac
import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Final

from cluster.kernel.errors import FlowError
from cluster.kernel.ids import RoomKind, parse_room

MAX_PID_CHARACTERS: Final = 256
MAX_OFFSET_CHARACTERS: Final = 4_096

_UNRECOVERABLE: Final = "-"
_SEPARATOR: Final = "."
_MAC_BYTES: Final = 16
_ID_BYTES: Final = 12
_LETTERS: Final = {RoomKind.GROUP: "g", RoomKind.EVENT: "e", RoomKind.DIRECT: "d"}
_PIECE: Final = re.compile(r"([ge][\w-]{16}|d[\w-]{32})(0|[1-9][0-9]{0,15})", re.ASCII)
_HEADS_KEPT: Final = 4_096


class Offsets:
    """The rooms of one connection and its position in each. `text` is what its client is given to keep.

    Of a connection with more than `max_rooms` the text says that it cannot be recovered. A position is not a secret
    and not signed: showing another one asks for no more than `since` does.

    Nearly all connections are in one room. Of those this holds two references: `alone_in`, the head of that room's
    piece of the text, and `alone_at`, the position there, which may be set in the place of a `move`. Heads are equal
    exactly when their rooms are. In none or several rooms `alone_in` is None.
    """

    __slots__ = ("_max_rooms", "_pieces", "alone_at", "alone_in")

    def __init__(self, max_rooms: int) -> None:
        self._max_rooms = max_rooms
        self._pieces: dict[str, str] | None = None
        """By head, of two rooms or more, in the order of the text."""
        self.alone_in: str | None = None
        self.alone_at = 0

    @property
    def text(self) -> str:
        if self._pieces is None:
            return "" if self.alone_in is None else f"{self.alone_in}{self.alone_at}"
        if len(self._pieces) > self._max_rooms:
            return _UNRECOVERABLE
        return _SEPARATOR.join(self._pieces.values())

    def move(self, room_id: str, seq: int) -> str:
        """The connection has everything of this room up to `seq`. Returns the new text."""
        head = head_of(room_id)
        if self._pieces is None:
            if self.alone_in is None or self.alone_in == head:
                self.alone_in, self.alone_at = head, seq
                return self.text
            self._pieces = {self.alone_in: self.text}
            self.alone_in = None
        self._pieces[head] = f"{head}{seq}"
        return self.text

    def leave(self, room_id: str) -> str:
        """The connection gets no more of this room. Returns the new text."""
        head = head_of(room_id)
        if self._pieces is None:
            if self.alone_in == head:
                self.alone_in = None
            return self.text
        self._pieces.pop(head, None)
        if len(self._pieces) == 1:
            ((self.alone_in, piece),) = self._pieces.items()
            self.alone_at = int(piece.removeprefix(self.alone_in))
            self._pieces = None
        return self.text

    def __contains__(self, room_id: str) -> bool:
        head = head_of(room_id)
        return self.alone_in == head if self._pieces is None else head in self._pieces

    def __iter__(self) -> Iterator[tuple[str, int]]:
        """Rooms and positions as of now."""
        if self._pieces is not None:
            known = tuple((head, int(piece.removeprefix(head))) for head, piece in self._pieces.items())
        else:
            known = () if self.alone_in is None else ((self.alone_in, self.alone_at),)
        for head, seq in known:
            room_id = _room_of(head)
            assert room_id is not None, "a head that was made of a room"
            yield room_id, seq

    @classmethod
    def parse(cls, text: str, max_rooms: int) -> "Offsets | None":
        """The inverse of `text`; None for anything else, and for a text that says it cannot be recovered."""
        offsets = cls(max_rooms)
        pieces = text.split(_SEPARATOR) if text else []
        if len(pieces) > max_rooms:
            return None
        for piece in pieces:
            match = _PIECE.fullmatch(piece)
            room_id = None if match is None else _room_of(match[1])
            if match is None or room_id is None or room_id in offsets:
                return None
            _ = offsets.move(room_id, int(match[2]))
        return offsets


@lru_cache(_HEADS_KEPT)
def head_of(room_id: str) -> str:
    """How a room's piece of the text begins. Kept, so that the members of a room share it."""
    room = parse_room(room_id)
    ids = "".join(room.people) if room.people is not None else (room.event_id or room.id)
    return _LETTERS[room.kind] + base64.urlsafe_b64encode(bytes.fromhex(ids)).decode()


def _room_of(head: str) -> str | None:
    """The room that a head names; None when no such room can be."""
    ids = base64.urlsafe_b64decode(head[1:]).hex()
    text = {"g": ids, "e": f"event:{ids}", "d": f"dm:{ids[: 2 * _ID_BYTES]}:{ids[2 * _ID_BYTES :]}"}[head[0]]
    try:
        return text if parse_room(text).id == text else None
    except FlowError:
        return None


class PidSigner:
    """Makes and checks the `pid`: a socket id, and the proof that this person's session was given it in a namespace.

    Keys are derived from the token secrets, so they rotate with them and are the same on every edge and after a deploy.
    """

    def __init__(self, secret: str, previous_secret: str | None = None) -> None:
        self._keys = [_key(known) for known in (secret, previous_secret) if known is not None]

    def sign(self, connection_id: str, namespace: str, user_id: str, session_id: str) -> str:
        return f"{connection_id}{_SEPARATOR}{_mac(self._keys[0], namespace, user_id, session_id, connection_id)}"

    def verify(self, pid: str, namespace: str, user_id: str, session_id: str) -> str | None:
        """The socket id that this person's session may have again, or None."""
        connection_id, found, mac = pid.rpartition(_SEPARATOR)
        if not found or not connection_id or not mac.isascii() or len(pid) > MAX_PID_CHARACTERS:
            return None
        known = (_mac(key, namespace, user_id, session_id, connection_id) for key in self._keys)
        return connection_id if any(hmac.compare_digest(mac, one) for one in known) else None


def _key(secret: str) -> bytes:
    return hashlib.blake2b(secret.encode(), digest_size=32, person=b"flow-pid").digest()


def _mac(key: bytes, *said: str) -> str:
    mac = hmac.digest(key, "\n".join(said).encode(errors="surrogatepass"), "sha256")[:_MAC_BYTES]
    return base64.urlsafe_b64encode(mac).rstrip(b"=").decode()
