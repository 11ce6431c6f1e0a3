"""Reads a CSV file cell by cell, and says where it is wrong.

Used by `csv_data`, `training.csv_features` and `training.rank_groups`. UTF-8 with or without a byte order mark; cells
are separated by commas, semicolons or tabs, whichever the header has most. It promises a TRAINING_DATA_INVALID error
that names the line and what is wrong with it, whatever the bytes are. Blocks while it reads; holds one line.
"""

import csv
from collections.abc import Generator
from pathlib import Path
from typing import Final

from cluster.kernel.errors import TRAINING_DATA_INVALID, FlowError

MAX_ID_LENGTH: Final = 256
_DELIMITERS: Final = (",", ";", "\t")


def cells(path: Path) -> Generator[tuple[int, list[str]], None, None]:
    """The header and then every line that is not empty, each with its number in the file."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            first = file.readline(1_000_000)
            if not first.strip():
                raise invalid(path, 1, "the file is empty" if not first else "there is no header")
            file.seek(0)
            reader = csv.reader(file, strict=True, delimiter=max(_DELIMITERS, key=first.count))
            try:
                for row in reader:
                    if row:
                        yield reader.line_num, row
            except csv.Error as error:
                raise invalid(path, reader.line_num, str(error)) from error
            except UnicodeDecodeError as error:
                # The decoder reads ahead of the lines, so the line given is where the trouble begins at the earliest.
                raise invalid(path, reader.line_num + 1, "from here on the file is not UTF-8 text") from error
    except UnicodeDecodeError as error:
        raise invalid(path, 1, "from here on the file is not UTF-8 text") from error
    except OSError as error:
        raise FlowError(TRAINING_DATA_INVALID, f"{path} cannot be read: {error.strerror}.") from error


def checked(path: Path, line: int, row: list[str], width: int) -> list[str]:
    """The row, when it has as many cells as the header."""
    if len(row) != width:
        raise invalid(path, line, f"{len(row)} columns where the header has {width}")
    return row


def identifier(path: Path, line: int, what: str, text: str) -> str:
    """The text as an id of 1 to `MAX_ID_LENGTH` characters."""
    found = text.strip()
    if not found or len(found) > MAX_ID_LENGTH:
        raise invalid(path, line, f"the {what} must be 1 to {MAX_ID_LENGTH} characters")
    return found


def invalid(path: Path, line: int, problem: str) -> FlowError:
    return FlowError(TRAINING_DATA_INVALID, f"{path.name}, line {line}: {problem}.")
