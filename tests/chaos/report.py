"""The run as a person reads it, on standard error: lines and a bar while it runs, tables at the end."""

from typing import Any

from rich.console import Console, Group
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table

from tests.chaos.checker.findings import KINDS
from tests.chaos.run import Outcome

_SHOWN = ("sent", "acked", "unacked", "acked_rsvps", "delivered", "connections", "recovered_joins", "reset_joins")
_SHOWN += ("resyncs", "stale_joins", "attempts_unknown", "messages_per_s", "seconds")


class Screen:
    """A line for each thing that happens; a bar only on a terminal."""

    def __init__(self, seconds: float) -> None:
        self.console = Console(stderr=True, highlight=False)
        self._progress: Progress | None = None
        self._bar: TaskID | None = None
        if self.console.is_terminal:
            columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
            self._progress = Progress(*columns, console=self.console, transient=True)
            self._bar = self._progress.add_task("chaos", total=seconds)

    def __enter__(self) -> "Screen":
        if self._progress is not None:
            self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._progress is not None:
            self._progress.stop()

    def say(self, line: str) -> None:
        self.console.print(line, markup=False, soft_wrap=True)

    def tick(self, seconds: float) -> None:
        if self._progress is not None and self._bar is not None:
            self._progress.update(self._bar, completed=seconds)


def show(outcome: Outcome, console: Console) -> None:
    """What happened, what was broken, and where to look."""
    numbers = outcome.numbers
    console.print(Group(_happened(numbers), "", _promises(numbers)))
    for violation, lines in zip(outcome.verdict.examples, outcome.contexts, strict=True):
        where = " ".join(part for part in (violation.client, violation.place) if part)
        at = f" at {violation.at:.3f}" if violation.at else ""
        console.print(f"{violation.kind}: {where}{at}: {violation.sentence}", markup=False, soft_wrap=True)
        for line in lines:
            console.print(f"    {line}", markup=False, soft_wrap=True)
    for reason in outcome.verdict.empty:
        console.print(f"This run proves nothing: {reason}.", markup=False)
    for remark in outcome.remarks:
        console.print(f"Note: {remark}", markup=False, soft_wrap=True)
    if outcome.kept is not None:
        console.print(f"Histories and logs are in {outcome.kept}", markup=False, soft_wrap=True)
    console.print("Every promise was kept." if numbers["good"] else "This run is not good.", markup=False)


def _happened(numbers: dict[str, Any]) -> Table:
    table = Table(title=f"seed {numbers['seed']}", show_header=False)
    for name in _SHOWN:
        table.add_row(name.replace("_", " "), str(numbers[name]))
    for name in ("ack_s", "silence_s"):
        table.add_row(name.replace("_s", ", s"), "  ".join(f"{key} {value:g}" for key, value in numbers[name].items()))
    table.add_row("errors", "  ".join(f"{code} {count}" for code, count in numbers["errors"].items()) or "none")
    table.add_row("faults", "  ".join(f"{kind} {count}" for kind, count in numbers["faults"].items()) or "none")
    return table


def _promises(numbers: dict[str, Any]) -> Table:
    table = Table("broken", "times", "what it means")
    for kind, sentence in KINDS.items():
        table.add_row(kind, str(numbers[kind]), sentence)
    return table
