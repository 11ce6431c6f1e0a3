"""Socket.IO packets (protocol v5) and the default parser: JSON text with binary attachments behind it.

Owns the packet, the rules that any parser's packets must keep, and the JSON form of them. Called by the socket's
Socket.IO side. Pure: no I/O, no clock. Everything that breaks the protocol raises `ProtocolViolation`, and nothing else
does: any other exception out of `decode` would be a mistake of this module.
"""

import math
import re
from enum import IntEnum
from typing import Any, Final, NamedTuple, Protocol

import orjson

from realtime.engine.wire import Wire

RESERVED_EVENTS: Final = frozenset(
    {"connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener"}
)

_MAX_NESTING: Final = 250
_LONGEST_MENDED: Final = 16_384
_PACKET = re.compile(r"([0-6])(?:(?<=[56])([0-9]{1,4})-)?(?:(/[^,]*)(?:,|\Z))?([0-9]{0,16})")
_ESCAPE = re.compile(
    r"\\(?:u(?P<high>[dD][89abAB][0-9a-fA-F]{2})(?P<low>\\u[dD][c-fC-F][0-9a-fA-F]{2})?"
    r"|(?P<lone>u[dD][c-fC-F][0-9a-fA-F]{2})|.)",
    re.DOTALL,
)


class ProtocolViolation(Exception):
    """The client broke the protocol; its socket is closed. The text is for the log, never for the client."""


class PacketKind(IntEnum):
    CONNECT = 0
    DISCONNECT = 1
    EVENT = 2
    ACK = 3
    CONNECT_ERROR = 4
    BINARY_EVENT = 5
    BINARY_ACK = 6


EVENT: Final = PacketKind.EVENT
ACK: Final = PacketKind.ACK
"""What every message asks for; to look a member up by its enumeration takes several times as long."""


class Packet(NamedTuple):
    """One Socket.IO packet. The binary kinds exist only on the wire: a whole packet is an EVENT or an ACK."""

    kind: PacketKind
    namespace: str
    data: Any = None
    id: int | None = None
    attachments: int = 0
    """How many binary messages must still follow; `attach` puts them in."""


class Codec(Protocol):
    """One parser. Both directions are total over what the protocol allows, and inverse to each other."""

    name: str

    def encode(self, packet: Packet) -> Wire:
        """Raises TypeError for data that the parser has no form for."""

    def decode(self, message: str | bytes) -> Packet:
        """Raises ProtocolViolation."""


class JsonCodec:
    """The parser that every Socket.IO client has."""

    name = "json"

    def encode(self, packet: Packet) -> Wire:
        kind, namespace, content, number, _ = packet
        try:
            data = b"" if content is None else orjson.dumps(content, None, _OPTIONS)
        except TypeError:
            return _encode_with_attachments(packet)
        return Wire((_HEADS[kind] + _place(namespace, number)).encode() + data)

    def decode(self, message: str | bytes) -> Packet:
        if isinstance(message, bytes):
            raise ProtocolViolation("a binary message that no packet announced")
        match = _PACKET.match(message)
        if match is None:
            raise ProtocolViolation("not a packet")
        digit, count, namespace, number = match.groups()
        kind = _KINDS[digit]
        rest = message[match.end() :]
        attachments = 0
        if digit in "56":
            if not count or int(count) == 0:
                raise ProtocolViolation("a binary packet without a number of attachments")
            attachments = int(count)
            kind = EVENT if digit == "5" else ACK
        data = loads(rest) if rest else None
        if rest.count("[") + rest.count("{") > _MAX_NESTING:
            _check_depth(data, 0)
        packet = Packet(kind, namespace or "/", data, int(number) if number else None)
        check(packet, has_data=bool(rest))
        return packet._replace(attachments=attachments) if attachments else packet


def _place(namespace: str, number: int | None) -> str:
    """What stands between a packet's kind and its data."""
    place = "" if namespace == "/" else namespace + ","
    return place if number is None else place + str(number)


def _encode_with_attachments(packet: Packet) -> Wire:
    """Raises TypeError for data that has no form in JSON, attachments aside."""
    attachments: list[bytes] = []

    def detach(value: object) -> dict[str, object]:
        if not isinstance(value, bytes | bytearray | memoryview):
            raise TypeError(f"{type(value).__name__} has no form in JSON")
        attachments.append(bytes(value))
        return {"_placeholder": True, "num": len(attachments) - 1}

    data = orjson.dumps(packet.data, detach, _OPTIONS)
    kind = PacketKind.BINARY_EVENT if packet.kind is EVENT else PacketKind.BINARY_ACK
    head = f"{_HEADS[kind]}{len(attachments)}-{_place(packet.namespace, packet.id)}"
    return Wire(head.encode() + data, tuple(attachments))


_OPTIONS: Final = orjson.OPT_PASSTHROUGH_DATETIME | orjson.OPT_PASSTHROUGH_DATACLASS
_HEADS: Final = tuple(f"4{int(kind)}" for kind in PacketKind)
_KINDS: Final = {str(int(kind)): kind for kind in PacketKind}


def loads(text: str) -> Any:
    """JSON, but half of a surrogate pair becomes U+FFFD: people do cut an emoji in two. Raises ProtocolViolation.

    Only short texts are mended, because mending a long one could hold the loop.
    """
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        if len(text) > _LONGEST_MENDED:
            raise ProtocolViolation("the data is not JSON") from error
    try:
        return orjson.loads(_ESCAPE.sub(_mend, text))
    except orjson.JSONDecodeError as error:
        raise ProtocolViolation("the data is not JSON") from error


def _mend(escape: re.Match[str]) -> str:
    if escape["lone"] or (escape["high"] and not escape["low"]):
        return "\\ufffd"
    return escape[0]


def _check_depth(data: Any, depth: int) -> None:
    """What could not be written again is not taken: JSON is read four times as deep as it can be written."""
    if depth > _MAX_NESTING:
        raise ProtocolViolation("data nested too deeply")
    if isinstance(data, list | dict):
        for item in data.values() if isinstance(data, dict) else data:
            if isinstance(item, list | dict):
                _check_depth(item, depth + 1)


def check(packet: Packet, *, has_data: bool) -> None:
    """The rules that hold in every parser. `has_data` tells null from nothing. Raises ProtocolViolation."""
    if packet.kind is EVENT:
        _check_event(packet.data)
        return
    match packet.kind:
        case PacketKind.ACK:
            if not isinstance(packet.data, list) or packet.id is None:
                raise ProtocolViolation("an ack needs an array and an id")
        case PacketKind.CONNECT:
            if has_data and not isinstance(packet.data, dict):
                raise ProtocolViolation("the data of CONNECT must be an object")
        case PacketKind.DISCONNECT:
            if has_data:
                raise ProtocolViolation("DISCONNECT takes no data")
        case _:
            raise ProtocolViolation("a packet that only a server may send")


def _check_event(data: Any) -> None:
    if not isinstance(data, list) or not data:
        raise ProtocolViolation("an event's data must be an array and not empty")
    name = data[0]
    if isinstance(name, str):
        if name in RESERVED_EVENTS:
            raise ProtocolViolation("a reserved event name")
    elif isinstance(name, bool) or not isinstance(name, int | float) or not math.isfinite(name):
        raise ProtocolViolation("an event's name must be a string or a number")


def attach(data: Any, attachments: list[bytes]) -> Any:
    """`data` with every placeholder replaced by the attachment it names. Raises ProtocolViolation."""
    return _attach(data, attachments, 0)


def _attach(data: Any, attachments: list[bytes], depth: int) -> Any:
    if depth > _MAX_NESTING:
        raise ProtocolViolation("data nested too deeply")
    if isinstance(data, list):
        return [_attach(item, attachments, depth + 1) for item in data]
    if not isinstance(data, dict):
        return data
    if data.get("_placeholder") is True:
        number = data.get("num")
        if isinstance(number, bool) or not isinstance(number, int) or not 0 <= number < len(attachments):
            raise ProtocolViolation("a placeholder without an attachment")
        return attachments[number]
    return {key: _attach(value, attachments, depth + 1) for key, value in data.items()}
