"""Wire messages: what is encoded comes back, and nothing that a server might send breaks more than its connection."""

import struct

import bson
import pytest
from bson.codec_options import CodecOptions
from hypothesis import given
from hypothesis import strategies as st

from storage.direct.op_msg import HEADER_BYTES, MOST_BYTES, MalformedReply, decode, encode, length_of

CODEC: CodecOptions[dict[str, object]] = CodecOptions(tz_aware=True)
VALUES = st.one_of(st.integers(-(2**31), 2**31 - 1), st.text(max_size=20), st.booleans(), st.none())
DOCUMENTS = st.dictionaries(st.text("abcdef", min_size=1, max_size=5), VALUES, max_size=5)


def reply(answers: int, body: dict[str, object]) -> bytes:
    """As a server would write it."""
    encoded = bson.encode(body)
    return struct.pack("<iiiiIB", HEADER_BYTES + 5 + len(encoded), 99, answers, 2013, 0, 0) + encoded


@given(st.integers(1, 2**31 - 1), DOCUMENTS, st.lists(DOCUMENTS, max_size=4))
def test_a_command_and_its_documents_are_what_the_server_reads(
    request: int, command: dict[str, object], documents: list[dict[str, object]]
) -> None:
    message = encode(request, command, CODEC, "documents", documents)
    length, number, answers, opcode, flags, kind = struct.unpack_from("<iiiiIB", message)
    assert (length, number, answers, opcode, flags, kind) == (len(message), request, 0, 2013, 0, 0)
    [size] = struct.unpack_from("<i", message, 21)
    assert bson.decode(message[21 : 21 + size]) == command
    rest = message[21 + size :]
    if documents:
        assert rest[0] == 1
        assert struct.unpack_from("<i", rest, 1)[0] == len(rest) - 1
        assert rest[5:15] == b"documents\0"
        assert bson.decode_all(rest[15:]) == documents
    else:
        assert rest == b""


@given(st.integers(1, 2**31 - 1), DOCUMENTS)
def test_a_reply_names_its_request(request: int, body: dict[str, object]) -> None:
    message = reply(request, body)
    assert length_of(message[:HEADER_BYTES]) == len(message)
    assert decode(message, CODEC) == (request, body)


@given(st.binary(min_size=HEADER_BYTES + 6, max_size=200))
def test_bytes_that_are_no_reply_are_refused(noise: bytes) -> None:
    with pytest.raises(MalformedReply):
        decode(noise, CODEC)


@given(st.integers(1, 9), DOCUMENTS, st.data())
def test_a_reply_with_a_broken_byte_is_refused_or_still_a_document(
    request: int, body: dict[str, object], data: st.DataObject
) -> None:
    message = bytearray(reply(request, body))
    message[data.draw(st.integers(0, len(message) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        _, found = decode(bytes(message), CODEC)
    except MalformedReply:
        return
    assert isinstance(found, dict)


@pytest.mark.parametrize("length", [-1, 0, HEADER_BYTES, 21, MOST_BYTES + 1, 2**31 - 1])
def test_a_length_that_cannot_be_is_refused_before_anything_is_kept(length: int) -> None:
    with pytest.raises(MalformedReply):
        length_of(struct.pack("<iiii", length, 1, 1, 2013))
