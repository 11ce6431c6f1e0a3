"""`flow import events`: conference lines into the events collection; the same file again changes nothing."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from cluster.run.imports import conference
from cluster.run.imports.conference import Rejected
from cluster.run.imports.gazetteer import Gazetteer
from cluster.run.imports.lines import LONGEST_LINE_BYTES, Line, pages
from cluster.run.imports.report import ImportReport


class EventSink(Protocol):
    """`storage.event_imports.EventImports` is one."""

    async def upsert_imported(self, documents: Sequence[Mapping[str, Any]]) -> Sequence[str]:
        """What became of each: imported, updated or unchanged. Durable."""


async def import_events(path: Path, sink: EventSink, progress: Callable[[int], None]) -> ImportReport:
    """Raises FlowError when the file cannot be read or the database is away; what went in before that stays, and
    importing again goes on from there. `progress` is told how many bytes have been read."""
    gazetteer = await asyncio.to_thread(Gazetteer)
    report = ImportReport()
    async for page in pages(path):
        documents = []
        for line in page.lines:
            try:
                documents.append(_document(line, gazetteer))
            except Rejected as rejected:
                report.reject(line.number, str(rejected))
        if documents:
            for outcome in await sink.upsert_imported(documents):
                report.count(outcome)
        progress(page.bytes_read)
    return report


def _document(line: Line, gazetteer: Gazetteer) -> dict[str, Any]:
    if line.text is None:
        raise Rejected(f"the line is longer than {LONGEST_LINE_BYTES} bytes")
    return conference.document(conference.parse(line.text), gazetteer.find)
