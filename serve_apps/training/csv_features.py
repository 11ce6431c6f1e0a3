"""Features of items and users from CSV files, as the events and people that models read.

Used by `dry_run`. One column is the id; `title` or `name` is the title, `category` the category, `longitude` and
`latitude` the place. Any other column says what kind of thing it is: several words apart by `|` or `;` are topics of
their own, other text is one topic, and numbers become one of ten equally full steps. What is empty or no finite number
says nothing, and `Remarks` counts it. Raises TRAINING_DATA_INVALID with the line. Blocks.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np

from serve_apps import csv_table
from serve_apps.contracts import CatalogueEvent, ModelPerson
from serve_apps.csv_data import ITEM_COLUMNS, USER_COLUMNS
from serve_apps.csv_table import invalid

MOST_ROWS: Final = 1_000_000
_TITLES: Final = ("title", "name")
_OWN_NAMES: Final = ("tags", "genres", "topics", "interests", "categories", "category")
_STEPS: Final = 10


@dataclass(slots=True)
class Remarks:
    """What was odd and did not stop the reading, by file and column."""

    not_finite: dict[str, int] = field(default_factory=dict)

    def sentences(self) -> list[str]:
        return [
            f"{where}: {count:,} values are no finite numbers and count as unknown."
            for where, count in sorted(self.not_finite.items())
        ]


@dataclass(slots=True)
class _Table:
    """The columns of a file by name, one cell per id."""

    ids: list[str]
    columns: dict[str, list[str]]


def item_features(path: Path, id_column: str | None, remarks: Remarks) -> list[CatalogueEvent]:
    table = _read(path, "item", (id_column,) if id_column else ITEM_COLUMNS)
    title = _taken(table, _TITLES)
    category = _taken(table, ("category",))
    places = _places(path, table)
    topics = _topics(path, table, remarks)
    return [
        CatalogueEvent(
            event_id=item,
            title=title[row],
            category=category[row],
            tags=topics(row),
            coordinates=places(row),
            start_ms=0,
            end_ms=0,
        )
        for row, item in enumerate(table.ids)
    ]


def user_features(path: Path, id_column: str | None, remarks: Remarks) -> list[ModelPerson]:
    table = _read(path, "user", (id_column,) if id_column else USER_COLUMNS)
    places = _places(path, table)
    topics = _topics(path, table, remarks)
    return [
        ModelPerson(user_id=user, interests=topics(row), coordinates=places(row)) for row, user in enumerate(table.ids)
    ]


def _read(path: Path, what: str, id_columns: Sequence[str]) -> _Table:
    reading = csv_table.cells(path)
    names = [name.strip().casefold() for name in next(reading)[1]]
    found = [index for index, name in enumerate(names) if name in [column.strip().casefold() for column in id_columns]]
    if len(found) != 1:
        how = "no column" if not found else "more than one column"
        raise invalid(path, 1, f"{how} for the {what}; it may be called {', '.join(id_columns)}")
    rows: dict[str, list[str]] = {}
    for line, row in reading:
        csv_table.checked(path, line, row, len(names))
        name = csv_table.identifier(path, line, what, row[found[0]])
        if name in rows:
            raise invalid(path, line, f"the {what} {name[:40]!r} has a line already")
        if len(rows) >= MOST_ROWS:
            raise invalid(path, line, f"more than {MOST_ROWS:,} lines")
        rows[name] = row
    columns = {
        name: [row[index].strip() for row in rows.values()] for index, name in enumerate(names) if index != found[0]
    }
    return _Table(list(rows), columns)


def _taken(table: _Table, names: Sequence[str]) -> list[str]:
    """The first of these columns, taken out of the table; empty texts without one."""
    for name in names:
        if name in table.columns:
            return table.columns.pop(name)
    return [""] * len(table.ids)


def _places(path: Path, table: _Table) -> Callable[[int], tuple[float, float] | None]:
    longitudes = _taken(table, ("longitude", "lng", "lon"))
    latitudes = _taken(table, ("latitude", "lat"))

    def place(row: int) -> tuple[float, float] | None:
        longitude, latitude = _number(longitudes[row]), _number(latitudes[row])
        if longitude is None or latitude is None or abs(longitude) > 180 or abs(latitude) > 90:
            return None
        return longitude, latitude

    return place


def _topics(path: Path, table: _Table, remarks: Remarks) -> Callable[[int], tuple[str, ...]]:
    """What every column that is left says of a row."""
    readers = [_reader(path, name, cells, remarks) for name, cells in table.columns.items()]
    return lambda row: tuple(topic for read in readers for topic in read(row))


def _reader(path: Path, name: str, cells: list[str], remarks: Remarks) -> Callable[[int], list[str]]:
    numbers = [_number(cell) for cell in cells]
    texts = [cell for cell, number in zip(cells, numbers, strict=True) if cell and number is None]
    odd = sum(cell.casefold().lstrip("+-") in ("nan", "inf", "infinity") for cell in texts)
    known = [number for number in numbers if number is not None]
    if known and len(texts) == odd:
        if odd:
            remarks.not_finite[f"{path.name}, {name}"] = odd
        edges = np.unique(np.quantile(known, np.arange(1, _STEPS) / _STEPS))
        return lambda row: _step(name, numbers[row], edges)
    prefix = "" if name in _OWN_NAMES else f"{name} "
    return lambda row: [prefix + part for part in _parts(cells[row])]


def _step(name: str, number: float | None, edges: "np.ndarray[tuple[int], np.dtype[np.float64]]") -> list[str]:
    return [] if number is None else [f"{name}={int(np.searchsorted(edges, number, side='right'))}"]


def _parts(text: str) -> list[str]:
    return [part.strip() for part in text.replace(";", "|").split("|") if part.strip()]


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None
