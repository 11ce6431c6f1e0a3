"""A text file's lines in pages, read in a thread: bounded lines, bounded pages, and how far the reading is."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple

from cluster.kernel.errors import INVALID_REQUEST, FlowError

LONGEST_LINE_BYTES: Final = 64 * 1024
PAGE_LINES: Final = 200


class Line(NamedTuple):
    """`text` is None when the line is longer than the limit; it is skipped to its end."""

    number: int
    text: bytes | None


class Page(NamedTuple):
    lines: list[Line]
    bytes_read: int


async def pages(path: Path) -> AsyncIterator[Page]:
    """Lines that are not blank, numbered from 1. Raises FlowError INVALID_REQUEST when the file cannot be read."""
    try:
        file = await asyncio.to_thread(path.open, "rb")
    except OSError as error:
        raise FlowError(INVALID_REQUEST, f"{path} cannot be read: {error.strerror}.") from error
    try:
        number = 0
        while True:
            lines, number = await asyncio.to_thread(_page, file, number)
            if not lines:
                return
            yield Page(lines, file.tell())
    finally:
        await asyncio.to_thread(file.close)


def _page(file: BinaryIO, number: int) -> tuple[list[Line], int]:
    lines: list[Line] = []
    while len(lines) < PAGE_LINES:
        text = file.readline(LONGEST_LINE_BYTES + 1)
        if not text:
            break
        number += 1
        if len(text) > LONGEST_LINE_BYTES:
            _skip_to_end(file, text)
            lines.append(Line(number, None))
        elif text.strip():
            lines.append(Line(number, text))
    return lines, number


def _skip_to_end(file: BinaryIO, text: bytes) -> None:
    while text and not text.endswith(b"\n"):
        text = file.readline(LONGEST_LINE_BYTES)
