"""The websocket frame reader against RFC 6455: whole, in pieces, and everything it must refuse."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from realtime.engine.frame_reader import INVALID_TEXT, PROTOCOL_ERROR, TOO_BIG, Close, FrameError, FrameReader, Ping
from tests.engine.harness import frame_bytes

_LIMIT = 1_000


def _masked(first: int, payload: bytes, mask: bytes) -> bytes:
    plain = frame_bytes(first, payload)
    body = bytes(byte ^ mask[index % 4] for index, byte in enumerate(payload))
    return plain[: len(plain) - len(payload) - 4] + mask + body


_messages = st.lists(st.text(max_size=300) | st.binary(max_size=300), max_size=6)


@settings(deadline=None)
@given(_messages, st.binary(min_size=4, max_size=4), st.data())
def test_messages_arrive_whatever_the_mask_the_fragments_and_the_reads(
    messages: list[str | bytes], mask: bytes, data: st.DataObject
) -> None:
    stream = b""
    for message in messages:
        opcode, payload = (1, message.encode()) if isinstance(message, str) else (2, message)
        cut = data.draw(st.integers(0, len(payload)))
        stream += _masked(opcode, payload[:cut], mask) + _masked(0x89, b"between", mask)
        stream += _masked(0x80, payload[cut:], mask)
    reader = FrameReader(2_000)
    received: list[object] = []
    while stream:
        size = data.draw(st.integers(1, len(stream)))
        received += [message for message in reader.feed(stream[:size]) if message != Ping(b"between")]
        stream = stream[size:]
    assert received == messages


@settings(deadline=None)
@given(st.binary())
def test_any_bytes_are_messages_or_a_frame_error(data: bytes) -> None:
    code = None
    try:
        assert all(message is not None for message in FrameReader(_LIMIT).feed(data))
    except FrameError as error:
        code = error.code
    assert code in (None, PROTOCOL_ERROR, INVALID_TEXT, TOO_BIG)


@pytest.mark.parametrize(
    ("stream", "code"),
    [
        (frame_bytes(0x81, b"no mask", masked=False), PROTOCOL_ERROR),
        (frame_bytes(0xC1, b"compressed"), PROTOCOL_ERROR),
        (frame_bytes(0x83, b"an opcode that does not exist"), PROTOCOL_ERROR),
        (frame_bytes(0x8B, b"a control opcode that does not exist"), PROTOCOL_ERROR),
        (frame_bytes(0x80, b"a continuation of nothing"), PROTOCOL_ERROR),
        (frame_bytes(0x01, b"a") + frame_bytes(0x81, b"b"), PROTOCOL_ERROR),
        (frame_bytes(0x09, b"a ping in pieces"), PROTOCOL_ERROR),
        (frame_bytes(0x89, b"x" * 126), PROTOCOL_ERROR),
        (frame_bytes(0x88, b"\x03"), PROTOCOL_ERROR),
        (frame_bytes(0x88, (1005).to_bytes(2)), PROTOCOL_ERROR),
        (frame_bytes(0x88, (2999).to_bytes(2)), PROTOCOL_ERROR),
        (frame_bytes(0x88, (1000).to_bytes(2) + b"\xff"), INVALID_TEXT),
        (frame_bytes(0x81, b"\xff"), INVALID_TEXT),
        (frame_bytes(0x01, "é".encode()[:1]) + frame_bytes(0x80, b"?"), INVALID_TEXT),
        (frame_bytes(0x82, b"x" * (_LIMIT + 1))[:14], TOO_BIG),
        (frame_bytes(0x02, b"x" * _LIMIT) + frame_bytes(0x80, b"x"), TOO_BIG),
        (bytes([0x82, 0xFF]) + b"\xff" * 12, TOO_BIG),
    ],
)
def test_what_a_server_must_not_accept(stream: bytes, code: int) -> None:
    with pytest.raises(FrameError) as caught:
        list(FrameReader(_LIMIT).feed(stream))
    assert caught.value.code == code


def test_close_frames_tell_their_code() -> None:
    assert list(FrameReader(_LIMIT).feed(frame_bytes(0x88, b""))) == [Close(1005)]
    assert list(FrameReader(_LIMIT).feed(frame_bytes(0x88, (4321).to_bytes(2) + b"why"))) == [Close(4321)]


def test_a_control_frame_between_fragments_does_not_count_towards_the_limit() -> None:
    stream = frame_bytes(0x02, b"x" * _LIMIT) + frame_bytes(0x89, b"y" * 125) + frame_bytes(0x80, b"")
    assert list(FrameReader(_LIMIT).feed(stream)) == [Ping(b"y" * 125), b"x" * _LIMIT]
