"""An event that goes to many connections: encoded at most once per parser, and framed at most once per transport.

Clients that keep offsets get the same bytes with an offset as one argument more, put at the end of what was encoded
already, once for each offset however many connections have it.
"""

from typing import Any, Final

import msgpack  # type: ignore[import-untyped]

from realtime.engine.packets import EVENT, Codec, JsonCodec, Packet
from realtime.engine.packets_msgpack import MsgpackCodec
from realtime.engine.wire import Wire

JSON: Final = JsonCodec()
MSGPACK: Final = MsgpackCodec()
_EMPTY: Final = msgpack.packb("")


class OutgoingEvent:
    """Made by `SocketEngine.encode`. The arguments must not change afterwards: msgpack is encoded when first needed."""

    __slots__ = ("_json", "_msgpack", "_open", "packet")

    def __init__(self, namespace: str, name: str, args: tuple[Any, ...]) -> None:
        """Raises TypeError for arguments that have no form in JSON."""
        self.packet = Packet(EVENT, namespace, [name, *args])
        self._json: Wire | None = JSON.encode(self.packet)
        self._msgpack: Wire | None = None
        self._open: bytes | None = None

    @property
    def namespace(self) -> str:
        return self.packet.namespace

    def wire(self, codec: Codec) -> Wire:
        if codec is JSON:
            if self._json is None:
                self._json = self._encode(codec)
            return self._json
        if self._msgpack is None:
            self._msgpack = self._encode(codec)
        return self._msgpack

    def _encode(self, codec: Codec) -> Wire:
        return codec.encode(self.packet)

    def with_offset(self, offset: str) -> "EventWithOffset":
        return EventWithOffset(self, offset)

    def open_ended(self, codec: Codec) -> bytes:
        """All but the last argument, which is yet to come. Not for an event with attachments."""
        if codec is JSON:
            return self.wire(codec).whole.removesuffix(b"]") + b","
        if self._open is None:
            with_empty = codec.encode(self.packet._replace(data=[*self.packet.data, ""]))
            self._open = with_empty.whole.removesuffix(_EMPTY)
        return self._open


class EventWithOffset(OutgoingEvent):
    """Made by `OutgoingEvent.with_offset`."""

    __slots__ = ("_event", "_offset")

    def __init__(self, event: OutgoingEvent, offset: str) -> None:
        self._event = event
        self._offset = offset
        self.packet = event.packet
        self._json = self._msgpack = self._open = None

    def with_offset(self, offset: str) -> "EventWithOffset":
        """In the place of its own."""
        return EventWithOffset(self._event, offset)

    def _encode(self, codec: Codec) -> Wire:
        start = self._event.open_ended(codec)
        if codec is JSON:
            return Wire(start + b'"' + self._offset.encode() + b'"]')
        return Wire(None, (start + msgpack.packb(self._offset),))
