"""What the command line calls for `flow import`: the kind, the file and the open storage, and a report comes back."""

from collections.abc import Callable
from pathlib import Path
from typing import Literal, Protocol

from cluster.run.imports.events import EventSink, import_events
from cluster.run.imports.interactions import InteractionSink, import_interactions
from cluster.run.imports.report import ImportReport


class ImportSinks(Protocol):
    """Where imports go; `storage.open.Storage` has both."""

    @property
    def event_imports(self) -> EventSink: ...

    @property
    def interactions(self) -> InteractionSink: ...


async def run_import(
    kind: Literal["events", "interactions"], path: Path, sinks: ImportSinks, progress: Callable[[int], None]
) -> ImportReport:
    """`progress` is told bytes read of `path` for events, lines read for interactions. Raises FlowError."""
    if kind == "events":
        return await import_events(path, sinks.event_imports, progress)
    return await import_interactions(path, sinks.interactions, progress)
