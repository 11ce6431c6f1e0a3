"""One Socket.IO client of the load generator: a protocol on a bare transport that counts instead of decoding.

A worker makes thousands. What comes is scanned for the room and the number of each message and nothing else; the same
bytes come to many members of a room, so what they say is worked out once (`Scanned`) and looked up after that.
"""

import asyncio
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from benchmarks.load import wire
from benchmarks.reconcile import Position

if TYPE_CHECKING:
    from benchmarks.load.crowd import Crowd


class Scanned(NamedTuple):
    """A piece of the stream that holds whole messages of one room, dense among themselves, and nothing else."""

    room: bytes
    first: int
    last: int
    intended_ns: int


class Client(asyncio.Protocol):
    """`number` is unique in the run. `on_ready` hears once that it is connected and in its rooms, or why not."""

    __slots__ = (
        "_acks",
        "_inflating",
        "_next_ack",
        "_tail",
        "_upgraded",
        "auth",
        "close_code",
        "crowd",
        "number",
        "on_ready",
        "positions",
        "rooms",
        "transport",
        "waiting_for_copy",
    )

    def __init__(self, crowd: "Crowd", number: int, auth: dict[str, Any], rooms: tuple[str, ...]) -> None:
        self.crowd = crowd
        self.number = number
        self.auth = auth
        self.rooms = rooms
        self.positions: dict[bytes, Position] = {}
        self.transport: Any = None
        self.close_code = 0
        self.on_ready: Callable[[str | None], None] = lambda reason: None
        self.waiting_for_copy = 0
        self._tail = b""
        self._upgraded = False
        self._inflating: wire.Inflating | None = None
        self._next_ack = 0
        self._acks: dict[int, Callable[[bytes], None]] = {}

    # --- the stream ---------------------------------------------------------------------------------------------------

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        transport.write(self.crowd.upgrade)

    def data_received(self, data: bytes) -> None:
        if self._inflating is not None:
            data = self._inflating.feed(data)
        scanned = self.crowd.scanned.get(data)
        if scanned is not None and not self._tail:
            self._take(scanned)
            return
        whole = not self._tail
        if self._tail:
            data, self._tail = self._tail + data, b""
        if not self._upgraded:
            end = data.find(b"\r\n\r\n")
            if end < 0:
                self._tail = data
                return
            if not data.startswith(b"HTTP/1.1 101"):
                self._fail(data[:80].decode(errors="replace"))
                return
            head, data = data[:end], data[end + 4 :]
            self._upgraded, whole = True, False
            if wire.Inflating.AGREED in head:
                self._inflating = wire.Inflating()
                data = self._inflating.feed(data)
        self._frames(data, whole=whole)

    def _frames(self, data: bytes, *, whole: bool) -> None:
        """Serve each frame; remember the piece as a whole when it turns out to be messages of one room alone."""
        done = 0
        run: Scanned | None = None
        for opcode, begin, end, after in wire.frames(data):
            done = after
            if opcode != wire.CLOSE_OPCODE and data.startswith(wire.MESSAGE, begin):
                message = _scan(data, begin, end)
                if run is None and begin < 11:
                    run = message
                elif run is not None and run.room == message.room and message.first == run.last + 1:
                    run = Scanned(run.room, run.first, message.last, run.intended_ns)
                else:
                    whole = False
                self._take(message)
                continue
            whole = False
            self._control(opcode, data[begin:end])
        if done < len(data):
            self._tail = data[done:]
        elif whole and run is not None:
            self.crowd.remember(data, run)

    def _take(self, scanned: Scanned) -> None:
        position = self.positions.get(scanned.room)
        if position is None:
            self.crowd.strangers += 1
            return
        position.take(scanned.first, scanned.last)
        self.crowd.received(scanned.last - scanned.first + 1, scanned.intended_ns)
        if self.waiting_for_copy and self.waiting_for_copy <= scanned.last:
            self.waiting_for_copy = 0
            self.crowd.copy_came(self)

    def _control(self, opcode: int, packet: bytes) -> None:
        if opcode == wire.CLOSE_OPCODE:
            self.close_code = int.from_bytes(packet[:2], "big")
        elif packet == wire.PING:
            self.transport.write(wire.PONG)
        elif packet.startswith(wire.ACK):
            mark = packet.index(b"[")
            answer = self._acks.pop(int(packet[len(wire.ACK) : mark]), None)
            if answer is not None:
                answer(packet)
        elif packet.startswith(wire.OPENED):
            self.transport.write(wire.connect(self.auth))
        elif packet.startswith(wire.CONNECTED):
            self._join(0)
        elif packet.startswith((wire.REFUSED, b"41")):
            self._fail(packet.decode(errors="replace"))

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport = None
        self.crowd.lost(self)
        self._fail(f"connection lost: {exc or self.close_code}")

    # --- asking -------------------------------------------------------------------------------------------------------

    def _join(self, index: int) -> None:
        """Join one room after the other; then this client is ready."""
        if index == len(self.rooms):
            self._report(None)
            return
        room = self.rooms[index]
        key = room.encode()
        body: Any = room
        if key in self.positions:
            body = {"roomId": room, "since": self.positions[key].position}

        def joined(packet: bytes) -> None:
            if b'"ok":true' not in packet:
                self._fail(packet.decode(errors="replace"))
                return
            self._joined(key, packet)
            self._join(index + 1)

        self.ask("chat:join_room", body, joined)

    def _joined(self, key: bytes, packet: bytes) -> None:
        """The first time this is where the client starts; after that what it missed has to be whole."""
        head, _, messages = packet.partition(b'"messages":')
        known = self.positions.get(key)
        if known is None:
            self.positions[key] = Position(wire.number_after(head, wire.SEQ, 0, len(head)))
            return
        if b'"recovered":true' not in head:
            self.crowd.resyncs += 1
        at = messages.find(wire.SEQ)
        while at >= 0:
            seq = wire.number_after(messages, wire.SEQ, at, len(messages))
            known.take(seq, seq)
            at = messages.find(wire.SEQ, at + 1)

    def ask(self, name: str, body: Any, answered: Callable[[bytes], None]) -> None:
        self._next_ack += 1
        self._acks[self._next_ack] = answered
        self.transport.write(wire.event(self._next_ack, name, body))

    def say(self, room: str, text: str, client_message_id: str, answered: Callable[[bytes], None]) -> None:
        self._next_ack += 1
        self._acks[self._next_ack] = answered
        self.transport.write(wire.send_message(self._next_ack, room, text, client_message_id))

    @property
    def unanswered(self) -> int:
        return len(self._acks)

    def forget(self) -> None:
        """Before this client connects anew: what the old connection left."""
        self._tail, self._upgraded, self._inflating, self.close_code = b"", False, None, 0
        self._acks.clear()

    def _report(self, reason: str | None) -> None:
        told, self.on_ready = self.on_ready, lambda reason: None
        told(reason)

    def _fail(self, reason: str) -> None:
        self._report(reason)


def _scan(data: bytes, begin: int, end: int) -> Scanned:
    at = data.index(wire.ROOM, begin, end) + len(wire.ROOM)
    room = data[at : data.index(b'"', at, end)]
    seq = wire.number_after(data, wire.SEQ, begin, end)
    return Scanned(room, seq, seq, wire.number_after(data, wire.CLIENT_ID, begin, end))


def now_ns() -> int:
    """One clock for all processes of a machine."""
    return time.monotonic_ns()
