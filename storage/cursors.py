"""Opaque page cursors: where a page of a list ended, for keyset pagination. Used by the collections that have lists.

A cursor names its list, so that one of another list is refused. It holds nothing that the page did not show and gives
no right to anything: whoever forges one sees what a request without a cursor would show.
"""

import base64
import binascii
from typing import Any

import msgspec

from cluster.kernel.errors import INVALID_REQUEST, FlowError

_LONGEST = 512


def encode_cursor(kind: str, *position: Any) -> str:
    """`position` is numbers and strings."""
    packed = msgspec.msgpack.encode([kind, *position])
    return base64.urlsafe_b64encode(packed).rstrip(b"=").decode()


def decode_cursor(cursor: str, kind: str, *types: type) -> tuple[Any, ...]:
    """The position. Raises FlowError INVALID_REQUEST for anything that `encode_cursor(kind, …)` did not make."""
    try:
        if len(cursor) > _LONGEST:
            raise ValueError(cursor)
        packed = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        found = msgspec.msgpack.decode(packed)
    except (ValueError, binascii.Error, msgspec.DecodeError) as error:
        raise _invalid() from error
    if not isinstance(found, list) or len(found) != len(types) + 1 or found[0] != kind:
        raise _invalid()
    position = tuple(found[1:])
    if not all(type(value) is expected for value, expected in zip(position, types, strict=True)):
        raise _invalid()
    return position


def _invalid() -> FlowError:
    return FlowError(INVALID_REQUEST, "The cursor is not one that this list gave.", fields=("cursor",))
