"""Whole files through the importers, into sinks that keep what they are given."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from cluster.kernel.errors import INVALID_REQUEST, TRAINING_DATA_INVALID, FlowError
from cluster.run.imports.events import import_events
from cluster.run.imports.interactions import import_interactions
from cluster.run.imports.lines import LONGEST_LINE_BYTES, PAGE_LINES
from serve_apps.contracts import InteractionRow
from tests.imports.test_conference import LINE


class Events:
    """Keeps documents by their source, as storage does."""

    def __init__(self) -> None:
        self.kept: dict[str, Mapping[str, Any]] = {}

    async def upsert_imported(self, documents: Sequence[Mapping[str, Any]]) -> list[str]:
        outcomes = []
        for document in documents:
            known = self.kept.get(document["source"]["externalId"])
            outcomes.append("imported" if known is None else "unchanged" if known == document else "updated")
            self.kept[document["source"]["externalId"]] = document
        return outcomes


class Interactions:
    def __init__(self) -> None:
        self.kept: set[tuple[str, str, str, int]] = set()

    async def import_rows(self, rows: Sequence[InteractionRow]) -> int:
        before = len(self.kept)
        self.kept |= {(row.user_id, row.event_id, row.action, row.at_ms) for row in rows}
        return len(self.kept) - before


def nothing(_: int) -> None: ...


async def test_events_are_imported_once_and_bad_lines_are_named(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    good = [json.dumps({**LINE, "name": f"Conference {index}"}) for index in range(PAGE_LINES + 10)]
    lines = [*good[:5], "{broken", "", "x" * (LONGEST_LINE_BYTES * 3), *good[5:]]
    path.write_text("\n".join(lines))
    sink, read = Events(), []
    report = await import_events(path, sink, read.append)
    assert (report.imported, report.unchanged, report.rejected) == (len(good), 0, 2)
    assert [line for line, _ in report.reasons] == [6, 8]
    assert read[-1] == path.stat().st_size
    again = await import_events(path, sink, nothing)
    assert (again.imported, again.updated, again.unchanged, again.rejected) == (0, 0, len(good), 2)
    path.write_text(json.dumps({**LINE, "name": "Conference 1", "topics": ["jazz"]}))
    changed = await import_events(path, sink, nothing)
    assert (changed.imported, changed.updated) == (0, 1)


async def test_interactions_are_imported_once_and_bad_rows_are_named(tmp_path: Path) -> None:
    path = tmp_path / "interactions.csv"
    path.write_text(
        "userId,movieId,rating,timestamp\n1,10,4.5,964982703\n2,10,nine,964982703\n,10,4,964982703\n2,11,3,964982704\n"
    )
    sink = Interactions()
    report = await import_interactions(path, sink, nothing)
    assert (report.imported, report.unchanged, report.rejected) == (2, 0, 2)
    assert [line for line, _ in report.reasons] == [3, 4]
    again = await import_interactions(path, sink, nothing)
    assert (again.imported, again.unchanged, again.rejected) == (0, 2, 2)


async def test_files_that_cannot_be_used_say_so(tmp_path: Path) -> None:
    with pytest.raises(FlowError) as missing:
        await import_events(tmp_path / "none.jsonl", Events(), nothing)
    assert missing.value.kind is INVALID_REQUEST
    path = tmp_path / "wrong.csv"
    path.write_text("a,b,c\n1,2,3\n")
    with pytest.raises(FlowError) as headless:
        await import_interactions(path, Interactions(), nothing)
    assert headless.value.kind is TRAINING_DATA_INVALID
