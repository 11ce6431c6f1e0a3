"""A history being written: lines gather in memory, at most so many, and go to the file in order."""

from pathlib import Path
from typing import IO

from tests.chaos.records import Record, encode

_LINES_HELD = 200


class HistoryFile:
    """`write` in the order of knowledge; `close` at the end. Nothing is written after that."""

    def __init__(self, path: Path) -> None:
        self._file: IO[bytes] | None = path.open("wb")
        self._lines: list[bytes] = []

    def write(self, record: Record) -> None:
        self._lines.append(encode(record))
        if len(self._lines) >= _LINES_HELD:
            self.flush()

    def flush(self) -> None:
        if self._file is not None and self._lines:
            self._file.write(b"\n".join(self._lines) + b"\n")
            self._file.flush()
        self._lines.clear()

    def close(self) -> None:
        self.flush()
        if self._file is not None:
            self._file.close()
            self._file = None
