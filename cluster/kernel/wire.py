"""msgpack for contracts between processes of the cluster: one encoder, cached typed decoders, one kind of error.

Every package that talks over a link encodes its structs here. Bytes that do not fit the type asked for become
FlowError INVALID_REQUEST with one short sentence; nothing else escapes. It never knows what a value means.
"""

import re
from functools import lru_cache
from typing import Any, TypeVar, overload

import msgspec

from cluster.kernel.errors import INVALID_REQUEST, FlowError

T = TypeVar("T")

_MAX_SENTENCE = 200
_PATH = re.compile(r" - at `\$\.?(?P<path>[^`]*)`\Z")
_encoder = msgspec.msgpack.Encoder()

encode = _encoder.encode
"""Any value msgspec can write, as msgpack bytes. A `msgspec.Raw` inside it is copied as it is."""


def encode_raw(value: Any) -> msgspec.Raw:
    """Encode once what goes to many: the result may be the body, or a part of it, of any number of frames."""
    return msgspec.Raw(_encoder.encode(value))


@lru_cache(maxsize=512)
def _decoder(kind: Any) -> "msgspec.msgpack.Decoder[Any]":
    return msgspec.msgpack.Decoder(kind)


@overload
def decode(data: bytes | bytearray | memoryview | msgspec.Raw, kind: type[T]) -> T: ...
@overload
def decode(data: bytes | bytearray | memoryview | msgspec.Raw, kind: Any) -> Any: ...
def decode(data: bytes | bytearray | memoryview | msgspec.Raw, kind: Any) -> Any:
    """The value of type `kind`, a class or a union of structs, in `data`.

    Raises FlowError INVALID_REQUEST when it is not one; its `fields` holds the path of the first offending field where
    one is known.
    """
    try:
        return _decoder(kind).decode(data)
    except (ValueError, RecursionError) as error:
        raise _invalid(error) from None


def _invalid(error: Exception) -> FlowError:
    if not isinstance(error, msgspec.ValidationError):
        return FlowError(INVALID_REQUEST, "The body is not valid msgpack.")
    text = str(error)
    at = _PATH.search(text)
    if at is None:
        return FlowError(INVALID_REQUEST, f"{text[:_MAX_SENTENCE]}.")
    path = at["path"]
    sentence = f"{text[: at.start()]} at {path}" if path else text[: at.start()]
    return FlowError(INVALID_REQUEST, f"{sentence[:_MAX_SENTENCE]}.", fields=(path,) if path else ())
