"""Training rows from a CSV file of (user, item, action or rating, timestamp).

Called by the command line. The header says which column is which, in any order and under any of the usual names.
It promises a TRAINING_DATA_INVALID error that names the line and what is wrong with it; nothing is skipped silently.
Reading happens in threads, page by page, so neither the loop nor memory suffers from a large file.
"""

import asyncio
import csv
import math
from collections.abc import AsyncIterator, Generator, Sequence
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Final, NamedTuple

from cluster.kernel.errors import TRAINING_DATA_INVALID, FlowError
from serve_apps.contracts import ACTION_WEIGHTS, POSITIVE_WEIGHT, CatalogueEvent, InteractionRow, ModelPerson
from serve_apps.data import PAGE_ROWS

USER_COLUMNS: Final = ("user", "user_id", "userid", "person")
ITEM_COLUMNS: Final = ("item", "item_id", "itemid", "event", "event_id", "eventid", "movieid")
RATING_COLUMNS: Final = ("rating", "score")
ACTION_COLUMNS: Final = ("action", "type")
TIME_COLUMNS: Final = ("timestamp", "time", "at", "ts", "date")

MAX_ID_LENGTH: Final = 256
_LARGEST_SECONDS: Final = 100_000_000_000  # as seconds the year 5138, as milliseconds 1973
_LATEST_MS: Final = 253_402_300_800_000  # the year 10000


class RatingScale(NamedTuple):
    """Ratings from `lowest` to `highest`; from `positive` on a person liked the item."""

    lowest: float = 0.0
    positive: float = 4.0
    highest: float = 5.0

    def weight(self, rating: float) -> float:
        """0 to 1, so that `positive` lands exactly on POSITIVE_WEIGHT."""
        if rating >= self.positive:
            span = self.highest - self.positive
            return POSITIVE_WEIGHT + (1 - POSITIVE_WEIGHT) * ((rating - self.positive) / span if span else 1.0)
        # Just below: rounding must not lift a rating into the liked ones.
        share = (rating - self.lowest) / (self.positive - self.lowest)
        return min(POSITIVE_WEIGHT * share, math.nextafter(POSITIVE_WEIGHT, 0.0))


class _Columns(NamedTuple):
    user: int
    item: int
    label: int
    time: int
    is_rating: bool
    width: int


class CsvTrainingData:
    """Implements `data.TrainingData` over one file; people and events are known by their ids alone."""

    def __init__(self, path: Path, scale: RatingScale | None = None) -> None:
        self._path = path
        self._scale = scale or RatingScale()

    async def interactions(self) -> AsyncIterator[Sequence[InteractionRow]]:
        rows = _rows(self._path, self._scale)
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


def read_rows(
    path: Path, scale: RatingScale | None = None
) -> Generator[tuple[int, InteractionRow | FlowError], None, None]:
    """Each row with its line, or what is wrong with it, for callers that go on after a bad row. Blocks while it reads.

    Raises FlowError TRAINING_DATA_INVALID when the file or its header cannot be used at all.
    """
    for line, columns, cells in _cells(path):
        try:
            yield line, _row(path, line, cells, columns, scale or RatingScale())
        except FlowError as error:
            yield line, error


def _rows(path: Path, scale: RatingScale) -> Generator[InteractionRow, None, None]:
    for line, columns, cells in _cells(path):
        yield _row(path, line, cells, columns, scale)


def _cells(path: Path) -> Generator[tuple[int, _Columns, list[str]], None, None]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            try:
                header = next(reader, None)
                if header is None:
                    raise _invalid(path, 1, "the file is empty")
                columns = _columns(path, header)
                for cells in reader:
                    if cells:
                        yield reader.line_num, columns, cells
            except csv.Error as error:
                raise _invalid(path, reader.line_num, str(error)) from error
            except UnicodeDecodeError as error:
                # The decoder reads ahead of the lines, so the line given is where the trouble begins at the earliest.
                raise _invalid(path, reader.line_num + 1, "from here on the file is not UTF-8 text") from error
    except OSError as error:
        raise FlowError(TRAINING_DATA_INVALID, f"{path} cannot be read: {error.strerror}.") from error


def _columns(path: Path, header: list[str]) -> _Columns:
    names = [name.strip().casefold() for name in header]

    def position(what: str, choices: Sequence[str]) -> int:
        found = [index for index, name in enumerate(names) if name in choices]
        if len(found) == 1:
            return found[0]
        problem = f"no column for the {what}" if not found else f"more than one column for the {what}"
        raise _invalid(path, 1, f"{problem}; it may be called {', '.join(choices)}")

    is_rating = any(name in RATING_COLUMNS for name in names)
    label = position("rating", RATING_COLUMNS) if is_rating else position("action or rating", ACTION_COLUMNS)
    return _Columns(
        position("user", USER_COLUMNS),
        position("item", ITEM_COLUMNS),
        label,
        position("time", TIME_COLUMNS),
        is_rating,
        len(names),
    )


def _row(path: Path, line: int, cells: list[str], columns: _Columns, scale: RatingScale) -> InteractionRow:
    if len(cells) != columns.width:
        raise _invalid(path, line, f"{len(cells)} columns where the header has {columns.width}")
    user, item = cells[columns.user].strip(), cells[columns.item].strip()
    for what, value in (("user", user), ("item", item)):
        if not value or len(value) > MAX_ID_LENGTH:
            raise _invalid(path, line, f"the {what} must be 1 to {MAX_ID_LENGTH} characters")
    label = cells[columns.label].strip()
    if columns.is_rating:
        action, weight = "rated", _rating_weight(path, line, label, scale)
    else:
        action = label.casefold()
        if action not in ACTION_WEIGHTS:
            raise _invalid(path, line, f"{label[:40]!r} is not one of the actions {', '.join(ACTION_WEIGHTS)}")
        weight = ACTION_WEIGHTS[action]
    return InteractionRow(user, item, action, weight, _time_ms(path, line, cells[columns.time].strip()))


def _rating_weight(path: Path, line: int, text: str, scale: RatingScale) -> float:
    try:
        rating = float(text)
    except ValueError:
        raise _invalid(path, line, f"the rating {text[:40]!r} is not a number") from None
    if not scale.lowest <= rating <= scale.highest:  # false for NaN too
        raise _invalid(path, line, f"the rating {text[:40]} is not between {scale.lowest:g} and {scale.highest:g}")
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
            raise _invalid(path, line, f"the time {text[:40]!r} is neither seconds nor ISO 8601") from None
        at_ms = round((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)
    if not 0 <= at_ms < _LATEST_MS:
        raise _invalid(path, line, f"the time {text[:40]} is out of range")
    return at_ms


def _invalid(path: Path, line: int, problem: str) -> FlowError:
    return FlowError(TRAINING_DATA_INVALID, f"{path.name}, line {line}: {problem}.")
