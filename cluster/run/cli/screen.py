"""Shows a start on a terminal: each stage as it runs and, when it is done, its time and what it says of itself.

On something that is not a terminal every stage is one plain line when it ends.
"""

import threading
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

_NODE_CHARACTERS = 8
"""Of a node's name; enough to tell them apart."""


class Screen:
    """A `Progress`. Stages may run side by side."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._lock = threading.Lock()
        self._running: list[str] = []
        self._status = console.status("") if console.is_terminal else None

    def started(self, stage: str) -> None:
        with self._lock:
            self._running.append(stage)
            self._show()

    def finished(self, stage: str, seconds: float, detail: str) -> None:
        self._ended(stage, f"[green]✓[/green] {stage:<20} {seconds:5.1f} s  [dim]{escape(detail)}[/dim]")

    def failed(self, stage: str, seconds: float, message: str) -> None:
        self._ended(stage, f"[red]✗[/red] {stage:<20} {seconds:5.1f} s  {escape(message)}")

    def _ended(self, stage: str, line: str) -> None:
        with self._lock:
            if stage in self._running:
                self._running.remove(stage)
            self._console.print(line)
            self._show()

    def _show(self) -> None:
        if self._status is None:
            return
        if self._running:
            self._status.update(", ".join(self._running))
            self._status.start()
        else:
            self._status.stop()


def summary_table(rows: list[tuple[str, str]]) -> Table:
    """Two columns, nothing cut."""
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in rows:
        table.add_row(name, escape(value))
    return table


def member_rows(members: list[dict[str, Any]]) -> Table:
    """What runs where."""
    table = Table(box=None, padding=(0, 2, 0, 0))
    for title in ("member", "state", "pid", "node", "up", "restarts", "loop lag"):
        table.add_column(title, no_wrap=True)
    for member in members:
        table.add_row(
            member["name"],
            str(member.get("state", "unknown")),
            str(member.get("pid", "")),
            str(member.get("node", ""))[:_NODE_CHARACTERS],
            f"{member.get('uptime_s', 0):.0f} s",
            str(member["restarts"]),
            f"{member.get('loop_lag_ms', 0):.1f} ms",
        )
    return table
