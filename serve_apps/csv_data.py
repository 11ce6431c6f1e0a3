"""Training rows from a CSV file of (user, item, action or rating, timestamp).

Called by the command line. The header says which column is which, in any order and under any of the usual names, or
`ColumnNames` does. It promises a TRAINING_DATA_INVALID error that names the line and what is wrong with it; nothing is
skipped silently. Reading happens in threads, page by page, so neither the loop nor memory suffers from a large file.
"""

import asyncio
import math
from collections.abc import AsyncIterator, Generator, Sequence
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Final, NamedTuple, Protocol

from cluster.kernel.errors import INVALID_REQUEST, FlowError
from serve_apps import csv_table
from serve_apps.contracts import ACTION_WEIGHTS, POSITIVE_WEIGHT, CatalogueEvent, InteractionRow, ModelPerson
from serve_apps.csv_table import invalid
from serve_apps.data import PAGE_ROWS

USER_COLUMNS: Final = ("user", "user_id", "userid", "person")
ITEM_COLUMNS: Final = ("item", "item_id", "itemid", "event", "event_id", "eventid", "movieid")
RATING_COLUMNS: Final = ("rating", "score")
ACTION_COLUMNS: Final = ("action", "type")
TIME_COLUMNS: Final = ("timestamp", "time", "at", "ts", "date")

_LARGEST_SECONDS: Final = 100_000_000_000  # as seconds the year 5138, as milliseconds 1973
_LATEST_MS: Final = 253_402_300_800_000  # the year 10000


class Scale(Protocol):
    """What a rating says: `weight` is 0 to 1, and POSITIVE_WEIGHT or more is liking."""

    def problem(self, rating: float) -> str | None:
        """What is wrong with a rating that this scale does not have."""

    def weight(self, rating: float) -> float: ...


class RatingScale(NamedTuple):
    """Ratings from `lowest` to `highest`; from `positive` on a person liked the item."""

    lowest: float = 0.0
    positive: float = 4.0
    highest: float = 5.0

    def problem(self, rating: float) -> str | None:
        if self.lowest <= rating <= self.highest:  # false for NaN too
            return None
        return f"not between {self.lowest:g} and {self.highest:g}"

    def weight(self, rating: float) -> float:
        """0 to 1, so that `positive` lands exactly on POSITIVE_WEIGHT."""
        if rating >= self.positive:
            span = self.highest - self.positive
            return POSITIVE_WEIGHT + (1 - POSITIVE_WEIGHT) * ((rating - self.positive) / span if span else 1.0)
        # Just below: rounding must not lift a rating into the liked ones.
        share = (rating - self.lowest) / (self.positive - self.lowest)
        return min(POSITIVE_WEIGHT * share, math.nextafter(POSITIVE_WEIGHT, 0.0))


class Threshold(NamedTuple):
    """Any finite number; from `positive` on a person liked the item."""

    positive: float

    def problem(self, rating: float) -> str | None:
        return None if math.isfinite(rating) else "not a finite number"

    def weight(self, rating: float) -> float:
        return 1.0 if rating >= self.positive else POSITIVE_WEIGHT / 2


class ColumnNames(NamedTuple):
    """The names of a file's columns; None where the usual names hold."""

    user: str | None = None
    item: str | None = None
    label: str | None = None
    time: str | None = None


class Layout(NamedTuple):
    """How to read a file: its columns, and whether it may lack a label (then every row is liked) or a time (then it is
    0)."""

    names: ColumnNames = ColumnNames()
    needs_label: bool = True
    needs_time: bool = True


class _Columns(NamedTuple):
    user: int
    item: int
    label: int | None
    time: int | None
    is_rating: bool | None
    """None when the first label decides."""
    width: int


class CsvTrainingData:
    """Implements `data.TrainingData` over one file; people and events are known by their ids alone."""

    def __init__(self, path: Path, scale: Scale | None = None, layout: Layout | None = None) -> None:
        self._path = path
        self.scale = scale or RatingScale()
        self.layout = layout or Layout()

    async def interactions(self) -> AsyncIterator[Sequence[InteractionRow]]:
        rows = _rows(self._path, self.scale, self.layout)
        try:
            while page := await asyncio.to_thread(lambda: list(islice(rows, PAGE_ROWS))):
                yield page
        finally:
            rows.close()

    async def events(self) -> AsyncIterator[Sequence[CatalogueEvent]]:
        nothing: tuple[Sequence[CatalogueEvent], ...] = ()
        for page in nothing:
            yield page

    async def people(self) -> AsyncIterator[Sequence[ModelPerson]]:
        nothing: tuple[Sequence[ModelPerson], ...] = ()
        for page in nothing:
            yield page

    async def close(self) -> None:
        """Holds nothing open between calls."""


def parse_names(text: str) -> ColumnNames:
    """`user=…,item=…,label=…,time=…`, any of them. Raises FlowError INVALID_REQUEST."""
    found: dict[str, str] = {}
    for part in text.split(","):
        key, equals, name = (piece.strip() for piece in part.partition("="))
        if key not in ColumnNames._fields or not equals or not name or key in found:
            known = ", ".join(f"{field}=NAME" for field in ColumnNames._fields)
            raise FlowError(INVALID_REQUEST, f"{part.strip()!r} names no column. Write {known}, each at most once.")
        found[key] = name
    return ColumnNames(**found)


def read_rows(path: Path, scale: Scale | None = None) -> Generator[tuple[int, InteractionRow | FlowError], None, None]:
    """Each row with its line, or what is wrong with it, for callers that go on after a bad row. Blocks while it reads.

    Raises FlowError TRAINING_DATA_INVALID when the file or its header cannot be used at all.
    """
    reading = csv_table.cells(path)
    columns = _columns(path, next(reading)[1], Layout())
    for line, row in reading:
        try:
            yield line, _row(path, line, row, columns, scale or RatingScale())
        except FlowError as error:
            yield line, error


def threshold(path: Path, layout: Layout) -> Threshold:
    """What counts as liking when nobody says: 4 where labels go beyond 1, else more than a half. Reads the file once.

    Raises FlowError TRAINING_DATA_INVALID when the header cannot be used.
    """
    reading = csv_table.cells(path)
    columns = _columns(path, next(reading)[1], layout)
    if columns.label is None:
        return Threshold(0.5)
    for _, row in reading:
        try:
            if float(row[columns.label]) > 1.0:
                return Threshold(4.0)
        except (ValueError, IndexError):
            continue  # the reading that counts tells what is wrong
    return Threshold(0.5)


def _rows(path: Path, scale: Scale, layout: Layout) -> Generator[InteractionRow, None, None]:
    reading = csv_table.cells(path)
    columns = _columns(path, next(reading)[1], layout)
    for line, row in reading:
        if columns.is_rating is None and columns.label is not None:
            columns = columns._replace(is_rating=_looks_like_number(row, columns.label))
        yield _row(path, line, row, columns, scale)


def _columns(path: Path, header: list[str], layout: Layout) -> _Columns:
    names = [name.strip().casefold() for name in header]

    def position(what: str, named: str | None, choices: Sequence[str], *, needed: bool = True) -> int | None:
        wanted = choices if named is None else (named.strip().casefold(),)
        found = [index for index, name in enumerate(names) if name in wanted]
        if len(found) == 1:
            return found[0]
        if not found and not needed and named is None:
            return None
        problem = f"no column for the {what}" if not found else f"more than one column for the {what}"
        raise invalid(path, 1, f"{problem}; it may be called {', '.join(wanted)}")

    columns = layout.names
    is_rating: bool | None = None
    if columns.label is not None:
        label = position("label", columns.label, ())
    else:
        is_rating = any(name in RATING_COLUMNS for name in names)
        choices = RATING_COLUMNS if is_rating else ACTION_COLUMNS
        what = "rating" if is_rating else "action or rating"
        label = position(what, None, choices, needed=layout.needs_label)
    user = position("user", columns.user, USER_COLUMNS)
    item = position("item", columns.item, ITEM_COLUMNS)
    time = position("time", columns.time, TIME_COLUMNS, needed=layout.needs_time)
    assert user is not None
    assert item is not None
    return _Columns(user, item, label, time, is_rating, len(names))


def _row(path: Path, line: int, cells: list[str], columns: _Columns, scale: Scale) -> InteractionRow:
    csv_table.checked(path, line, cells, columns.width)
    user = csv_table.identifier(path, line, "user", cells[columns.user])
    item = csv_table.identifier(path, line, "item", cells[columns.item])
    at_ms = 0 if columns.time is None else _time_ms(path, line, cells[columns.time].strip())
    if columns.label is None:
        return InteractionRow(user, item, "liked", 1.0, at_ms)
    label = cells[columns.label].strip()
    if columns.is_rating:
        return InteractionRow(user, item, "rated", _rating_weight(path, line, label, scale), at_ms)
    action = label.casefold()
    if action not in ACTION_WEIGHTS:
        raise invalid(path, line, f"{label[:40]!r} is not one of the actions {', '.join(ACTION_WEIGHTS)}")
    return InteractionRow(user, item, action, ACTION_WEIGHTS[action], at_ms)


def _looks_like_number(cells: list[str], column: int) -> bool:
    try:
        float(cells[column])
    except (ValueError, IndexError):
        return False
    return True


def _rating_weight(path: Path, line: int, text: str, scale: Scale) -> float:
    try:
        rating = float(text)
    except ValueError:
        raise invalid(path, line, f"the rating {text[:40]!r} is not a number") from None
    problem = scale.problem(rating)
    if problem is not None:
        raise invalid(path, line, f"the rating {text[:40]} is {problem}")
    return scale.weight(rating)


def _time_ms(path: Path, line: int, text: str) -> int:
    """Seconds or milliseconds since the epoch, or ISO 8601 (UTC unless it names a zone)."""
    try:
        number = float(text)
        at_ms = round(number if abs(number) >= _LARGEST_SECONDS else number * 1000)
    except (ValueError, OverflowError):
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            raise invalid(path, line, f"the time {text[:40]!r} is neither seconds nor ISO 8601") from None
        at_ms = round((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)
    if not 0 <= at_ms < _LATEST_MS:
        raise invalid(path, line, f"the time {text[:40]} is out of range")
    return at_ms
