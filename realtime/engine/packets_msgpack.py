"""Socket.IO packets in the form of the npm package socket.io-msgpack-parser: one msgpack map a packet, always binary.

The same rules as for JSON hold (`packets.check`). The package writes JavaScript's `undefined`, `Date` and `ArrayBuffer`
as extensions of type 0, told apart by their length here: one byte is `undefined` (None), eight are a `Date` (an ISO
8601 string, as JSON clients send it), anything else is binary data. So an `ArrayBuffer` of one or eight bytes is
misread; a `Buffer` never is.
"""

from datetime import UTC, datetime, timedelta
from typing import Any, Final

import msgpack  # type: ignore[import-untyped]

from realtime.engine.packets import Packet, PacketKind, ProtocolViolation, check
from realtime.engine.wire import Wire

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MAX_ACK_ID: Final = 10**16


class MsgpackCodec:
    """Stateless. Binary data travels inside the packet, so no packet has attachments."""

    name = "msgpack"

    def encode(self, packet: Packet) -> Wire:
        body: dict[str, Any] = {"type": int(packet.kind), "nsp": packet.namespace}
        if packet.data is not None:
            body["data"] = packet.data
        if packet.id is not None:
            body["id"] = packet.id
        try:
            return Wire(None, (msgpack.packb(body),))
        except (ValueError, OverflowError) as error:
            raise TypeError(str(error)) from error

    def decode(self, message: str | bytes) -> Packet:
        if isinstance(message, str):
            raise ProtocolViolation("a text message, which this parser never sends")
        try:
            body = msgpack.unpackb(message, ext_hook=_extension)
        except (ValueError, TypeError, msgpack.exceptions.UnpackException) as error:
            raise ProtocolViolation("the packet is not msgpack") from error
        if not isinstance(body, dict):
            raise ProtocolViolation("the packet is not a map")
        kind, namespace, data, number = body.get("type"), body.get("nsp"), body.get("data"), body.get("id")
        if isinstance(kind, bool) or not isinstance(kind, int) or not 0 <= kind <= PacketKind.CONNECT_ERROR:
            raise ProtocolViolation("an unknown packet type")
        if not isinstance(namespace, str):
            raise ProtocolViolation("the namespace is not a string")
        if number is not None and not _is_ack_id(number):
            raise ProtocolViolation("the id is not an integer")
        packet = Packet(PacketKind(kind), namespace, data, number)
        check(packet, has_data=data is not None)
        return packet


def _is_ack_id(number: object) -> bool:
    return isinstance(number, int) and not isinstance(number, bool) and 0 <= number < _MAX_ACK_ID


def _extension(code: int, data: bytes) -> object:
    if code != 0:
        raise ProtocolViolation("an unknown msgpack extension")
    if len(data) == 1:
        return None
    if len(data) == 8:
        return _iso_date(int.from_bytes(data, "big", signed=True))
    return data


def _iso_date(milliseconds: int) -> str:
    try:
        moment = _EPOCH + timedelta(milliseconds=milliseconds)
    except OverflowError as error:
        raise ProtocolViolation("a date out of range") from error
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
