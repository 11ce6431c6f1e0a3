"""What a reply of MongoDB means, in the driver's own exceptions, so that one translation serves both ways. Pure.

Source of the codes: the server discovery and monitoring specification ("not primary" and "shutting down" errors).
"""

from typing import Any, Final

from pymongo.errors import (
    BulkWriteError,
    DuplicateKeyError,
    ExecutionTimeout,
    NotPrimaryError,
    OperationFailure,
    WriteConcernError,
)

_DUPLICATE_KEY: Final = frozenset({11000, 11001, 12582})
_TIMED_OUT: Final = 50
_NOT_PRIMARY: Final = frozenset({10058, 10107, 13435, 11602, 13436, 189, 91, 11600})


def check(reply: dict[str, Any]) -> dict[str, Any]:
    """The reply itself when the command as a whole was done. Raises NotPrimaryError, ExecutionTimeout,
    DuplicateKeyError or OperationFailure."""
    if reply.get("ok"):
        return reply
    code, message = int(reply.get("code", 0)), str(reply.get("errmsg", ""))
    if code in _NOT_PRIMARY:
        raise NotPrimaryError(message, reply)
    if code == _TIMED_OUT:
        raise ExecutionTimeout(message, code, reply)
    if code in _DUPLICATE_KEY:
        raise DuplicateKeyError(message, code, reply)
    raise OperationFailure(message, code, reply)


def check_batch(reply: dict[str, Any]) -> dict[str, Any]:
    """As `check`. Raises BulkWriteError too when a part of the batch was refused or is not durable."""
    check(reply)
    concern = reply.get("writeConcernError")
    if concern is not None and int(concern.get("code", 0)) in _NOT_PRIMARY:
        raise NotPrimaryError(str(concern.get("errmsg", "")), reply)
    if reply.get("writeErrors") or concern is not None:
        raise BulkWriteError(
            {"writeErrors": reply.get("writeErrors", []), "writeConcernErrors": [concern] if concern else []}
        )
    return reply


def check_one(reply: dict[str, Any]) -> dict[str, Any]:
    """As `check`, of a command that writes one thing. Raises DuplicateKeyError, OperationFailure or WriteConcernError
    for what was refused or is not durable."""
    check(reply)
    for refused in reply.get("writeErrors", ()):
        code, message = int(refused.get("code", 0)), str(refused.get("errmsg", ""))
        kind = DuplicateKeyError if code in _DUPLICATE_KEY else OperationFailure
        raise kind(message, code, refused)
    concern = reply.get("writeConcernError")
    if concern is not None:
        raise WriteConcernError(str(concern.get("errmsg", "")), concern.get("code"), concern)
    return reply
