"""The generator's own reader and scanner: what comes in any pieces is counted the same."""

import zlib

from hypothesis import given
from hypothesis import strategies as st

from benchmarks.load import wire
from benchmarks.load.client import Client
from benchmarks.load.crowd import Crowd
from benchmarks.reconcile import Position


class Sink:
    """A transport that keeps what is written."""

    def __init__(self) -> None:
        self.written: list[bytes] = []

    def write(self, data: bytes) -> None:
        self.written.append(data)


def server_frame(text: bytes) -> bytes:
    head = bytes((0x81, len(text))) if len(text) < 126 else bytes((0x81, 126)) + len(text).to_bytes(2, "big")
    return head + text


def message(room: str, seq: int) -> bytes:
    body = f'{{"roomId":"{room}","seq":{seq},"epoch":1,"text":"{"x" * 64}","clientMsgId":"12345-1-{seq}"}}'
    return server_frame(b'42/chat,["chat:new_message",' + body.encode() + b"]")


def client_in(room: str) -> tuple[Crowd, Client, Sink]:
    crowd, sink = Crowd(), Sink()
    client = Client(crowd, 1, {}, (room,))
    client.connection_made(sink)
    client.positions[room.encode()] = Position(0)
    client.data_received(b"HTTP/1.1 101 Switching Protocols\r\n\r\n")
    return crowd, client, sink


@given(st.lists(st.integers(1, 500), max_size=20))
def test_pieces_of_any_size_are_counted_the_same(cuts: list[int]) -> None:
    crowd, client, sink = client_in("r1")
    stream = b"".join((message("r1", 1), server_frame(b"2"), message("r1", 2), message("r1", 3), message("r1", 4)))
    for cut in cuts:
        client.data_received(stream[:cut])
        stream = stream[cut:]
    client.data_received(stream)
    assert crowd.delivered == 4
    assert (client.positions[b"r1"].position, client.positions[b"r1"].faults) == (4, 0)
    assert sink.written[-1] == wire.PONG


def test_the_same_bytes_to_the_next_client_are_looked_up_and_still_checked() -> None:
    crowd, first, _ = client_in("r1")
    second = Client(crowd, 2, {}, ("r1",))
    second.connection_made(Sink())
    second.positions[b"r1"] = Position(0)
    second.data_received(b"HTTP/1.1 101 Switching Protocols\r\n\r\n")
    piece = message("r1", 1) + message("r1", 2)
    first.data_received(piece)
    assert piece in crowd.scanned
    second.data_received(piece)
    second.data_received(piece)  # told twice
    assert crowd.delivered == 6
    assert (first.positions[b"r1"].faults, second.positions[b"r1"].faults) == (0, 1)


def test_a_gap_inside_one_piece_is_a_fault_and_the_piece_is_not_kept() -> None:
    crowd, client, _ = client_in("r1")
    piece = message("r1", 1) + message("r1", 3)
    client.data_received(piece)
    assert client.positions[b"r1"].faults == 1
    assert piece not in crowd.scanned


def test_another_rooms_message_is_noticed() -> None:
    crowd, client, _ = client_in("r1")
    client.data_received(message("r2", 1))
    assert crowd.strangers == 1
    assert client.positions[b"r1"].position == 0


@given(st.lists(st.integers(1, 200), max_size=20))
def test_a_stream_that_is_deflated_is_counted_as_any_other(cuts: list[int]) -> None:
    crowd, sink = Crowd(), Sink()
    client = Client(crowd, 1, {}, ("r1",))
    client.connection_made(sink)
    client.positions[b"r1"] = Position(0)
    deflate = zlib.compressobj(wbits=-zlib.MAX_WBITS)

    def deflated(frame: bytes) -> bytes:
        payload = frame[4:] if frame[1] == 126 else frame[2:]
        short = (deflate.compress(payload) + deflate.flush(zlib.Z_SYNC_FLUSH)).removesuffix(b"\x00\x00\xff\xff")
        return bytes((0xC1,)) + server_frame(short)[1:]

    stream = b"HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n"
    stream += deflated(message("r1", 1)) + server_frame(b"2") + deflated(message("r1", 2)) + deflated(message("r1", 3))
    for cut in cuts:
        client.data_received(stream[:cut])
        stream = stream[cut:]
    client.data_received(stream)
    assert (client.positions[b"r1"].position, client.positions[b"r1"].faults) == (3, 0)
    assert sink.written[-1] == wire.PONG
