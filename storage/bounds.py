"""The bound that every page and batch of storage respects. Called by each collection before it asks the database."""

from collections.abc import Iterator, Sequence, Sized
from typing import Final, TypeVar

from cluster.kernel.errors import INVALID_REQUEST, FlowError

MAX_ROWS: Final = 500
"""The most rows that one page may ask for, or one batch may carry."""


Row = TypeVar("Row")


def batches(rows: Sequence[Row], size: int = MAX_ROWS) -> Iterator[Sequence[Row]]:
    """All of them in order, no more than `size` at once."""
    return (rows[start : start + size] for start in range(0, len(rows), size))


def page_limit(limit: int) -> int:
    """`limit` itself. Raises FlowError INVALID_REQUEST unless it is 1 to `MAX_ROWS`."""
    if not 1 <= limit <= MAX_ROWS:
        raise FlowError(INVALID_REQUEST, f"limit must be 1 to {MAX_ROWS}.", fields=("limit",))
    return limit


def check_batch(rows: Sized) -> None:
    """Raises FlowError INVALID_REQUEST when a batch is larger than `MAX_ROWS`."""
    if len(rows) > MAX_ROWS:
        raise FlowError(INVALID_REQUEST, f"A batch holds at most {MAX_ROWS} rows, not {len(rows)}.")
