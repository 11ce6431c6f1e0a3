"""MongoDB's wire messages: commands into bytes, bytes into replies. Pure.

Source: the MongoDB wire protocol, OP_MSG (opcode 2013): a header of four little-endian 32-bit integers (length,
request, what it answers, opcode), 32 bits of flags, then sections. A command is one section of kind 0; the documents
of a batch follow in one of kind 1, so that they are encoded once and not as an array inside the command. Replies have
one section of kind 0. Nothing here is compressed, and no checksums are asked for.
"""

import struct
from collections.abc import Mapping, Sequence
from typing import Any, Final

import bson
from bson.codec_options import CodecOptions
from bson.errors import BSONError

OP_MSG: Final = 2013
HEADER_BYTES: Final = 16
MOST_BYTES: Final = 48_000_000
"""The largest message that a server takes or sends."""

_HEADER: Final = struct.Struct("<iiii")
_START: Final = struct.Struct("<iiiiIB")
_SEQUENCE: Final = struct.Struct("<Bi")
_INT: Final = struct.Struct("<i")
_FLAGS_AND_KIND: Final = 5

Document = Mapping[str, Any]
Codec = CodecOptions[dict[str, Any]]


class MalformedReply(Exception):
    """What came is no reply to a command; the connection it came on cannot be used any more."""


def encode(request: int, command: Document, codec: Codec, name: str = "", documents: Sequence[Document] = ()) -> bytes:
    """One message; `documents` become the command's array `name`. Raises bson.errors.InvalidDocument or OverflowError
    for values that BSON has no form of."""
    body = bson.encode(command, codec_options=codec)
    parts = [b"", body]
    if documents:
        encoded = [bson.encode(document, codec_options=codec) for document in documents]
        identifier = name.encode() + b"\0"
        parts += [_SEQUENCE.pack(1, 4 + len(identifier) + sum(map(len, encoded))), identifier, *encoded]
    parts[0] = _START.pack(HEADER_BYTES + _FLAGS_AND_KIND + sum(map(len, parts)), request, 0, OP_MSG, 0, 0)
    return b"".join(parts)


def length_of(header: bytes | bytearray) -> int:
    """How long the message is that begins so. Raises MalformedReply when none may be so long or so short."""
    (length,) = _INT.unpack_from(header)
    if not HEADER_BYTES + _FLAGS_AND_KIND < length <= MOST_BYTES:
        raise MalformedReply(f"a message of {length} bytes")
    return int(length)


def decode(message: bytes, codec: Codec) -> tuple[int, dict[str, Any]]:
    """The request that is answered, and the reply. Raises MalformedReply."""
    length, _, answers, opcode = _HEADER.unpack_from(message)
    if length != len(message) or opcode != OP_MSG:
        raise MalformedReply(f"opcode {opcode}, {length} of {len(message)} bytes")
    start = HEADER_BYTES + _FLAGS_AND_KIND
    if message[HEADER_BYTES:start] != b"\0\0\0\0\0":
        raise MalformedReply("flags or sections that nobody asked for")
    try:
        return int(answers), bson.decode(message[start:], codec_options=codec)
    except BSONError as error:
        raise MalformedReply("a reply that is not BSON") from error
