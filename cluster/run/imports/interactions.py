"""`flow import interactions`: a CSV of (user, item, action or rating, timestamp) into the interactions collection.

The header says which column is which, as in training from a file. A row that cannot be understood is reported and
left out; the same file again changes nothing, since a person, event, action and time make one row.
"""

import asyncio
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path
from typing import Protocol

from cluster.kernel.errors import FlowError
from cluster.run.imports.report import ImportReport
from serve_apps.contracts import InteractionRow
from serve_apps.csv_data import read_rows

PAGE_ROWS = 500


class InteractionSink(Protocol):
    """`storage.interactions.MongoInteractions` is one."""

    async def import_rows(self, rows: Sequence[InteractionRow]) -> int:
        """Store those that are new, durably; returns how many were."""


async def import_interactions(path: Path, sink: InteractionSink, progress: Callable[[int], None]) -> ImportReport:
    """Raises FlowError TRAINING_DATA_INVALID when the file or its header cannot be read, UNAVAILABLE when the database
    is away. `progress` is told how many lines have been read."""
    report = ImportReport()
    reading = read_rows(path)
    try:
        while page := await asyncio.to_thread(lambda: list(islice(reading, PAGE_ROWS))):
            rows = []
            for line, row in page:
                if isinstance(row, FlowError):
                    report.reject(line, row.message)
                else:
                    rows.append(row)
            if rows:
                imported = await sink.import_rows(rows)
                report.imported += imported
                report.unchanged += len(rows) - imported
            progress(page[-1][0])
    finally:
        reading.close()
    return report
