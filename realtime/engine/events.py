"""An event that goes to many connections: encoded at most once per parser, and framed at most once per transport."""

from typing import Any, Final

from realtime.engine.packets import Codec, JsonCodec, Packet, PacketKind
from realtime.engine.packets_msgpack import MsgpackCodec
from realtime.engine.wire import Wire

JSON: Final = JsonCodec()
MSGPACK: Final = MsgpackCodec()


class OutgoingEvent:
    """Made by `SocketEngine.encode`. The arguments must not change afterwards: msgpack is encoded when first needed."""

    __slots__ = ("_json", "_msgpack", "_packet")

    def __init__(self, namespace: str, name: str, args: tuple[Any, ...]) -> None:
        """Raises TypeError for arguments that have no form in JSON."""
        self._packet = Packet(PacketKind.EVENT, namespace, [name, *args])
        self._json = JSON.encode(self._packet)
        self._msgpack: Wire | None = None

    @property
    def namespace(self) -> str:
        return self._packet.namespace

    def wire(self, codec: Codec) -> Wire:
        if codec is JSON:
            return self._json
        if self._msgpack is None:
            self._msgpack = codec.encode(self._packet)
        return self._msgpack
