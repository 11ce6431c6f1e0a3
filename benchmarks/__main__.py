"""`make bench`: every case on a Flow of its own, one JSON line each, a table, and a file in benchmarks/results."""

import json
import os
import platform
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks import first_message, lifecycle
from tests.support.flow_process import FlowProcess

RESULTS = Path(__file__).parent / "results"


def machine() -> dict[str, Any]:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "cpus": os.cpu_count(),
        "memory_gib": round(memory / 2**30),
        "system": platform.platform(),
        "python": platform.python_version(),
    }


def cases() -> list[dict[str, Any]]:
    results = []
    with tempfile.TemporaryDirectory() as name:
        results.append(lifecycle.run(Path(name)))
    with tempfile.TemporaryDirectory() as name:
        flow = FlowProcess(Path(name))
        flow.up("--no-recommender")
        try:
            results.append(first_message.run(flow, Path(name)))
        finally:
            flow.down()
    return results


def main() -> int:
    results = cases()
    table = Table("case", "figure", "value")
    for result in results:
        print(json.dumps(result))
        for figure, value in result.items():
            if figure != "case":
                table.add_row(str(result["case"]), figure, str(value))
    Console(stderr=True).print(table)
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{time.strftime('%Y-%m-%d')}.json"
    path.write_text(json.dumps({"machine": machine(), "results": results}, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
