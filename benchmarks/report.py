"""What a run leaves: a table for people, and a file with the machine's description beside every figure."""

import json
import os
import platform
import shutil
import subprocess
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.outcome import Options, Outcome, rounded

console = Console(stderr=True)


def machine() -> dict[str, Any]:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "cpu": _cpu(),
        "cpus": os.cpu_count(),
        "memory_gib": round(memory / 2**30),
        "system": platform.platform(),
        "python": platform.python_version(),
        "node": _node(),
        "load_before": [round(value, 2) for value in os.getloadavg()],
    }


def _cpu() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")


def _node() -> str | None:
    if shutil.which("node") is None:
        return None
    return subprocess.run(["node", "--version"], capture_output=True, text=True, check=False).stdout.strip()


def as_table(outcomes: Sequence[Outcome]) -> Table:
    table = Table("case", "what", "ours", "theirs", "ratio", "goal", "")
    for outcome in outcomes:
        for check in outcome.checks:
            goal = f"{'≤' if check.at_most else '≥'} {check.wanted:g}"
            theirs = "" if check.theirs is None else f"{rounded(check.theirs):g}"
            ratio = "" if check.theirs is None else f"{check.value:.2f}"
            mark = "[green]met[/green]" if check.is_met else "[red]missed[/red]"
            table.add_row(outcome.case, check.what, f"{rounded(check.ours):g}", theirs, ratio, goal, mark)
        if not outcome.checks:
            for row in outcome.rows:
                for figure, value in row.items():
                    table.add_row(outcome.case, figure, str(value), "", "", "", "")
        for remark in outcome.remarks:
            table.add_row(outcome.case, f"[yellow]{remark}[/yellow]", "", "", "", "", "")
    return table


def write(folder: Path, outcomes: Sequence[Outcome], options: Options, described: dict[str, Any]) -> Path:
    """One file a run, named by when it ended."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{time.strftime('%Y-%m-%dT%H%M%S')}.json"
    document = {
        "machine": described,
        "options": asdict(options),
        "results": [outcome.as_json() for outcome in outcomes],
    }
    path.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n")
    return path
