"""How long Flow takes to start and to stop, and how much memory it holds when idle with a model loaded."""

import csv
import time
from pathlib import Path
from typing import Any

import psutil

from benchmarks.outcome import Options, Outcome
from tests.support.flow_process import FlowProcess

PEOPLE, EVENTS = 50, 40


def run(options: Options) -> Outcome:
    with options.directory() as directory:
        return Outcome("lifecycle", [measure(directory)])


def measure(directory: Path) -> dict[str, Any]:
    """Start, train a small model, stop, start again (the figure), look at the memory, stop (the figure)."""
    flow = FlowProcess(directory)
    flow.up()
    path = directory / "interactions.csv"
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["user", "item", "action", "timestamp"])
        rows.writerows(
            [f"u{person}", f"e{(person * 7 + step) % EVENTS}", "attend", 1_750_000_000 + step]
            for person in range(PEOPLE)
            for step in range(8)
        )
    flow.run("import", "interactions", str(path))
    flow.run("train", timeout_s=400)
    flow.down()
    started = time.perf_counter()
    flow.up()
    up_s = time.perf_counter() - started
    processes = [psutil.Process(part["pid"]) for part in flow.status()["processes"]]
    resident = {process.pid: process.memory_info().rss for process in family(processes)}
    started = time.perf_counter()
    flow.run("down")
    down_s = time.perf_counter() - started
    _, alive = psutil.wait_procs(processes, timeout=0)
    return {
        "second_start_s": round(up_s, 1),
        "stop_s": round(down_s, 1),
        "processes": len(resident),
        "processes_left": len(alive),
        "resident_mb_idle_with_model": round(sum(resident.values()) / 1e6),
    }


def family(processes: list[psutil.Process]) -> set[psutil.Process]:
    """The processes and all their descendants, Ray's own included."""
    found = set(processes)
    for process in processes:
        found.update(process.children(recursive=True))
    return found
