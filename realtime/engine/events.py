"""An event that goes to many connections: encoded at most once per parser, and framed at most once per transport.

A connection whose client keeps offsets gets the same bytes with its own offset as one argument more: the event is
encoded once with that argument open, and each such connection's text is put at the end.
"""

from typing import Any, Final

import msgpack  # type: ignore[import-untyped]

from realtime.engine.packets import Codec, JsonCodec, Packet, PacketKind
from realtime.engine.packets_msgpack import MsgpackCodec
from realtime.engine.wire import Wire

JSON: Final = JsonCodec()
MSGPACK: Final = MsgpackCodec()


class OutgoingEvent:
    """Made by `SocketEngine.encode`. The arguments must not change afterwards: msgpack is encoded when first needed."""

    __slots__ = ("_json", "_msgpack", "_open", "_packet")

    def __init__(self, namespace: str, name: str, args: tuple[Any, ...]) -> None:
        """Raises TypeError for arguments that have no form in JSON."""
        self._packet = Packet(PacketKind.EVENT, namespace, [name, *args])
        self._json = JSON.encode(self._packet)
        self._msgpack: Wire | None = None
        self._open: dict[str, bytes] = {}

    @property
    def namespace(self) -> str:
        return self._packet.namespace

    def wire(self, codec: Codec) -> Wire:
        if codec is JSON:
            return self._json
        if self._msgpack is None:
            self._msgpack = codec.encode(self._packet)
        return self._msgpack

    def wire_with(self, codec: Codec, offset: str) -> Wire:
        """The event with one argument more, which only one connection gets."""
        start = self._open.get(codec.name)
        if start is None:
            open_ended = self._packet._replace(data=[*self._packet.data, ""])
            start = self._open[codec.name] = codec.encode(open_ended).whole.removesuffix(_EMPTY_AT_THE_END[codec.name])
        if codec is JSON:
            return Wire(start + b'"' + offset.encode() + b'"]')
        return Wire(None, (start + msgpack.packb(offset),))


_EMPTY_AT_THE_END: Final = {JSON.name: b'""]', MSGPACK.name: msgpack.packb("")}
