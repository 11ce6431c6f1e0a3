"""What the driver's exceptions mean here. Used by the client alone, around everything that it asks the database.

Only FlowError, `Duplicate` and `BatchRefused` come out for what a database may do; anything else is a mistake of ours
and comes out as it is.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

from pymongo.errors import (
    BulkWriteError,
    ConfigurationError,
    ConnectionFailure,
    DocumentTooLarge,
    DuplicateKeyError,
    ExecutionTimeout,
    OperationFailure,
    PyMongoError,
    WriteConcernError,
)

from cluster.kernel.errors import START_FAILED, TOO_LARGE, UNAVAILABLE, FlowError

_DUPLICATE_KEY: Final = 11000
_WRITE_CONFLICT: Final = 112
_INTERRUPTED: Final = 11601
_REFUSED_LOGIN: Final = frozenset({13, 18})


class Duplicate(Exception):
    """A write met a unique index. `fields` are the fields of that index."""

    def __init__(self, fields: tuple[str, ...]) -> None:
        super().__init__(f"a document with the same {', '.join(fields)} exists")
        self.fields = fields


class BatchRefused(Exception):
    """An ordered batch stopped at `index`, which met the unique index over `fields`; all before it is durable.

    For an unordered batch `index` is the first refused and `refused` counts all of them; the others are durable.
    """

    def __init__(self, index: int, fields: tuple[str, ...], refused: int) -> None:
        super().__init__(f"operation {index} met a document with the same {', '.join(fields)}")
        self.index = index
        self.fields = fields
        self.refused = refused


class Conflict(FlowError):
    """UNAVAILABLE because another writer was in the way of a transaction: nothing was done, and soon it can be."""

    def __init__(self) -> None:
        super().__init__(UNAVAILABLE, "Others write to this at the same time. Try again.")


@contextmanager
def answers(what: str) -> Iterator[None]:
    """Turns the driver's errors into the project's."""
    try:
        yield
    except DuplicateKeyError as error:
        raise Duplicate(_key_fields(error.details or {})) from error
    except BulkWriteError as error:
        raise _batch_error(what, error) from error
    except DocumentTooLarge as error:
        raise FlowError(TOO_LARGE) from error
    except PyMongoError as error:
        if isinstance(error, OperationFailure) and error.code in _REFUSED_LOGIN:
            raise FlowError(START_FAILED, "MongoDB refuses the username or password of its address.") from error
        if isinstance(error, OperationFailure) and error.code == _WRITE_CONFLICT:
            raise Conflict from error
        if not _is_away(error):
            raise
        raise FlowError(UNAVAILABLE, f"The database did not answer in time ({what}).") from error


def _is_away(error: PyMongoError) -> bool:
    """The server could not be reached, did not answer in time, or could not make the write durable."""
    if isinstance(error, (ConnectionFailure, WriteConcernError, ExecutionTimeout)) or error.timeout:
        return True
    if isinstance(error, OperationFailure) and error.code == _INTERRUPTED:
        return True  # another process took this one for gone
    if isinstance(error, ConfigurationError):
        return True  # the addresses were right when the client was made: this server is not back in its set yet
    return error.has_error_label("RetryableWriteError") or error.has_error_label("TransientTransactionError")


def _batch_error(what: str, error: BulkWriteError) -> Exception:
    details = error.details
    refused = [one for one in details.get("writeErrors", ()) if one.get("code") == _DUPLICATE_KEY]
    if details.get("writeConcernErrors") or len(refused) < len(details.get("writeErrors", ())) or not refused:
        unknown = [one for one in details.get("writeErrors", ()) if one.get("code") != _DUPLICATE_KEY]
        if unknown and not error.timeout and not details.get("writeConcernErrors"):
            return error
        return FlowError(UNAVAILABLE, f"The database could not make a batch durable in time ({what}).")
    return BatchRefused(int(refused[0]["index"]), _key_fields(refused[0]), len(refused))


def _key_fields(details: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(details.get("keyPattern", ())) or ("_id",)
