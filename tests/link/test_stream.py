"""How frames leave: together, in order, and counted until the kernel has them."""

import asyncio
from typing import Any

import msgspec
import pytest

from cluster.kernel.clock import SystemClock
from cluster.kernel.errors import TOO_LARGE, FlowError
from cluster.link.frames import FrameReader
from cluster.link.stream import FrameStream


class Plain(FrameStream):
    """A stream whose frames mean nothing."""

    def _opened(self) -> None:
        self._authenticated()
        self.reasons: list[str] = []
        self.received = 0

    def _received(self, payload: bytes) -> None:
        self.received += 1
        if payload == b"\x00":
            self.close("asked to")
        self.send(("answer", msgspec.msgpack.decode(payload)))

    def _lost(self, reason: str) -> None:
        self.reasons.append(reason)


class Wire(asyncio.Transport):
    """Keeps each write apart. `held` plays the part of the kernel's full buffer."""

    def __init__(self, stream: Plain) -> None:
        super().__init__()
        self.writes: list[bytes] = []
        self.held = 0
        self.aborted = False
        self.is_read = True
        self._stream = stream

    def write(self, data: Any) -> None:
        assert not self.is_closing()
        self.writes.append(bytes(data))

    def get_write_buffer_size(self) -> int:
        return self.held

    def pause_reading(self) -> None:
        self.is_read = False

    def resume_reading(self) -> None:
        self.is_read = True

    def is_closing(self) -> bool:
        return self.aborted

    def close(self) -> None:
        pass

    def abort(self) -> None:
        if not self.aborted:
            self.aborted = True
            asyncio.get_running_loop().call_soon(self._stream.connection_lost, None)

    def frames(self) -> list[Any]:
        return [msgspec.msgpack.decode(payload) for payload in FrameReader(1 << 20).feed(b"".join(self.writes))]


@pytest.fixture
async def stream() -> Plain:
    made = Plain(1 << 20, SystemClock())
    made.connection_made(Wire(made))
    return made


@pytest.fixture
def wire(stream: Plain) -> Any:
    return stream._transport


async def a_turn() -> None:
    await asyncio.sleep(0)
    await asyncio.sleep(0)


async def test_the_frames_of_one_turn_leave_in_one_write(stream: Plain, wire: Wire) -> None:
    for number in range(100):
        stream.send(number)
    assert wire.writes == []
    await a_turn()
    assert len(wire.writes) == 1
    assert wire.frames() == list(range(100))
    await a_turn()
    assert len(wire.writes) == 1


async def test_what_is_answered_at_once_leaves_at_once_and_together(stream: Plain, wire: Wire) -> None:
    stream.data_received(b"".join(len(p).to_bytes(4, "big") + p for p in (b"\x01", b"\x02", b"\x03")))
    assert len(wire.writes) == 1
    assert wire.frames() == [["answer", 1], ["answer", 2], ["answer", 3]]


async def test_no_more_than_so_many_frames_are_received_in_one_turn_and_none_is_read_meanwhile() -> None:
    stream = Plain(1 << 20, SystemClock(), frames_a_turn=2)
    stream.connection_made(wire := Wire(stream))
    stream.data_received(b"".join((1).to_bytes(4, "big") + bytes((number,)) for number in range(1, 6)))
    received = []
    while not wire.is_read:
        received.append(stream.received)
        await asyncio.sleep(0)
    assert received == [2, 4]
    assert wire.frames() == [["answer", number] for number in range(1, 6)]
    stream.data_received((1).to_bytes(4, "big") + b"\x06")
    assert stream.received == 6
    stream.abort("for the test")
    await stream.wait_gone()


async def test_a_frame_that_weighs_more_counts_as_several() -> None:
    class Heavy(Plain):
        def _received(self, payload: bytes) -> None:
            super()._received(payload)
            self._weigh(2)

    stream = Heavy(1 << 20, SystemClock(), frames_a_turn=6)
    stream.connection_made(wire := Wire(stream))
    stream.data_received(b"".join((1).to_bytes(4, "big") + bytes((number,)) for number in range(1, 6)))
    received = []
    while not wire.is_read:
        received.append(stream.received)
        await asyncio.sleep(0)
    assert received == [2, 4]
    assert stream.received == 5
    stream.abort("for the test")
    await stream.wait_gone()


async def test_a_stream_that_is_lost_between_two_turns_receives_nothing_more() -> None:
    stream = Plain(1 << 20, SystemClock(), frames_a_turn=2)
    stream.connection_made(Wire(stream))
    stream.data_received(b"".join((1).to_bytes(4, "big") + bytes((number,)) for number in range(1, 6)))
    stream.connection_lost(None)
    await a_turn()
    assert stream.received == 2
    assert stream.reasons == ["the peer closed the connection"]


async def test_a_turn_that_writes_much_does_not_wait_for_its_end(stream: Plain, wire: Wire) -> None:
    for _ in range(10):
        stream.send(b"\0" * (100 << 10))
    assert len(wire.writes) >= 3
    await a_turn()
    assert wire.frames() == [b"\0" * (100 << 10)] * 10


async def test_unsent_bytes_are_the_batch_and_what_the_kernel_did_not_take(stream: Plain, wire: Wire) -> None:
    assert stream.unsent_bytes == 0
    wire.held = 1_000
    stream.send(b"x" * 10)
    assert stream.unsent_bytes == 1_000 + 4 + 12
    await a_turn()
    assert stream.unsent_bytes == 1_000


async def test_a_refused_frame_leaves_the_stream_as_it_was(stream: Plain, wire: Wire) -> None:
    stream.send(1)
    with pytest.raises(FlowError) as caught:
        stream.send(b"\0" * (1 << 20))
    assert caught.value.kind is TOO_LARGE
    with pytest.raises(TypeError):
        stream.send(object())
    stream.send(2)
    await a_turn()
    assert wire.frames() == [1, 2]


async def test_closing_sends_what_was_sent_and_nothing_more(stream: Plain, wire: Wire) -> None:
    stream.send(1)
    stream.close("for the test")
    stream.send(2)
    assert not stream.is_open
    assert wire.frames() == [1]
    # This transport never manages to send: the stream ends all the same.
    async with asyncio.timeout(5):
        await stream.wait_gone()
    assert wire.aborted
    assert stream.reasons == ["for the test"]


async def test_nothing_is_received_after_closing_even_if_it_is_there(stream: Plain, wire: Wire) -> None:
    stream.data_received(b"".join(len(p).to_bytes(4, "big") + p for p in (b"\x01", b"\x00", b"\x02", b"\x03")))
    assert stream.received == 2
    assert wire.frames() == [["answer", 1]]
    stream.abort("for the test")


async def test_aborting_drops_what_was_not_sent(stream: Plain, wire: Wire) -> None:
    stream.send(1)
    stream.abort("for the test")
    stream.abort("again")
    await stream.wait_gone()
    assert wire.writes == []
    assert stream.reasons == ["for the test"]
    assert stream.unsent_bytes == 0
