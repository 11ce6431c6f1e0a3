"""`flow import events|interactions FILE`: bring data in; what was refused is said with its line and reason."""

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from cluster.run.cli.common import (
    DEFAULT_DATA_DIRECTORY,
    AsJson,
    DataDirectory,
    answers,
    print_json,
    remarks,
    reports_errors,
)
from cluster.run.installation import Installation

app = typer.Typer(help="Import events or interactions from a file.", no_args_is_help=True)

File = Annotated[Path, typer.Argument(help="The file to read.", metavar="FILE")]

_SHOWN_REASONS = 20


@dataclass(frozen=True, slots=True)
class _Sinks:
    event_imports: Any
    interactions: Any


@app.command("events")
@reports_errors
def events(file: File, data_directory: DataDirectory = DEFAULT_DATA_DIRECTORY, as_json: AsJson = False) -> None:
    """Import events from JSON lines."""
    _import("events", file, data_directory, as_json=as_json)


@app.command("interactions")
@reports_errors
def interactions(file: File, data_directory: DataDirectory = DEFAULT_DATA_DIRECTORY, as_json: AsJson = False) -> None:
    """Import what people did, from CSV: user, item, action or rating, timestamp."""
    _import("interactions", file, data_directory, as_json=as_json)


def _import(kind: Literal["events", "interactions"], file: Path, data_directory: Path, *, as_json: bool) -> None:
    size = file.stat().st_size if kind == "events" and file.is_file() else None
    report = asyncio.run(_run(kind, file, size, Installation(data_directory)))
    if as_json:
        print_json(report)
        return
    counts = ", ".join(f"{report[name]} {name}" for name in ("imported", "updated", "unchanged", "rejected"))
    answers.print(f"{file.name}: {counts}")
    for entry in report["reasons"][:_SHOWN_REASONS]:
        answers.print(f"  line {entry['line']}: {entry['reason']}", markup=False)
    if len(report["reasons"]) > _SHOWN_REASONS:
        answers.print(f"  … and more: --json lists up to {len(report['reasons'])}")


async def _run(
    kind: Literal["events", "interactions"], file: Path, size: int | None, installation: Installation
) -> dict[str, Any]:
    """`size` is what `progress` counts up to, where it counts bytes."""
    from cluster.run import attached
    from cluster.run.imports.command import run_import

    found = attached.attachment(installation)
    bar = Progress(TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), console=remarks, transient=True)
    async with attached.opened(found) as storage:
        with bar:
            task = bar.add_task(f"Importing {kind}", total=size)
            sinks = _Sinks(storage.events, storage.interactions)
            report = await run_import(kind, file, sinks, lambda done: bar.update(task, completed=done))
    return report.to_wire()
