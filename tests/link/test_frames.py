"""Cutting a byte stream into frames."""

from contextlib import suppress

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.link.frames import (
    FrameReader,
    ProtocolViolation,
    RequestFrame,
    decode_to_client,
    decode_to_server,
)
from tests.link.raw import framed

GOLDEN = {
    "request": ("95 01 07 cd05dc a4 6563686f 81a161 01", (1, 7, 1500, "echo", {"a": 1})),
    "reply": ("93 02 07 c0", (2, 7, None)),
    "error": ("93 03 07 81 a4636f6465 a8696e7465726e616c", (3, 7, {"code": "internal"})),
    "note": ("93 04 a174 c3", (4, "t", True)),
    "push": ("93 05 a174 c2", (5, "t", False)),
    "ping": ("92 06 05", (6, 5)),
    "pong": ("92 07 05", (7, 5)),
}


@pytest.mark.parametrize("kind", GOLDEN)
def test_the_form_of_each_frame_is_fixed(kind: str) -> None:
    text, frame = GOLDEN[kind]
    payload = bytes.fromhex(text)
    assert msgspec.msgpack.encode(frame) == payload
    decode = decode_to_server if kind in {"request", "note", "ping"} else decode_to_client
    assert type(decode(payload)).__name__ == f"{kind.capitalize()}Frame"


def test_a_body_passes_through_undecoded() -> None:
    body = msgspec.msgpack.encode({"text": "x"})
    frame = decode_to_server(msgspec.msgpack.encode((1, 1, 1, "m", msgspec.Raw(body))))
    assert isinstance(frame, RequestFrame)
    assert bytes(frame.body) == body


@settings(deadline=None)
@given(payloads=st.lists(st.binary(max_size=300), max_size=12), cuts=st.lists(st.integers(1, 400), max_size=30))
def test_however_the_stream_is_cut_the_frames_are_the_same(payloads: list[bytes], cuts: list[int]) -> None:
    stream = b"".join(framed(payload) for payload in payloads)
    reader = FrameReader(300)
    seen: list[bytes] = []
    for cut in cuts:
        seen += reader.feed(stream[:cut])
        stream = stream[cut:]
    seen += reader.feed(stream)
    assert seen == payloads


def test_an_oversized_frame_is_refused_by_its_header_alone() -> None:
    reader = FrameReader(10)
    with pytest.raises(ProtocolViolation):
        list(reader.feed(framed(b"x" * 11)[:4]))


def test_the_limit_may_grow_between_two_frames_of_one_read() -> None:
    reader = FrameReader(10)
    seen = []
    for payload in reader.feed(framed(b"small") + framed(b"x" * 100)):
        seen.append(len(payload))
        reader.max_frame_bytes = 100
    assert seen == [5, 100]


@settings(deadline=None)
@given(st.binary(max_size=1_200))
def test_garbage_is_a_violation_and_nothing_else(payload: bytes) -> None:
    for decode in (decode_to_server, decode_to_client):
        with suppress(ProtocolViolation):
            decode(payload)


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\xc1",
        b"\x91" * 5_000,
        b"\x93\x04\xa1t" + b"\x91" * 5_000 + b"\xc0",
        msgspec.msgpack.encode((1, 1, 0, "m", None)),
        msgspec.msgpack.encode((1, -1, 1, "m", None)),
        b"\x95\x01\x05\x01\xa2\xff\xfe\xc0",
        msgspec.msgpack.encode((99, 1)),
    ],
    ids=["empty", "no msgpack", "nested", "a nested body", "no time", "negative id", "no text", "unknown kind"],
)
def test_what_no_peer_sends_is_a_violation(payload: bytes) -> None:
    with pytest.raises(ProtocolViolation):
        decode_to_server(payload)
