"""`make bench`: the benchmarks named, or all; one JSON line each, a table, and a file in benchmarks/results.

    make bench ARGS="fan_out small_rooms"           these two
    make bench ARGS="--seconds 3 --repeats 1"       all, for a quick look

A benchmark is a module of this folder with a `run(options: Options) -> Outcome` (see outcome.py) or, with nothing to
compare, a `run(directory: Path)` that is given an empty folder and returns its figures. One that fails is told and does
not keep the others from running; the exit code says that something failed.
"""

import argparse
import importlib
import inspect
import json
import pkgutil
import re
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import benchmarks
from benchmarks.outcome import Options, Outcome
from benchmarks.report import as_table, console, machine, write

RESULTS: Final = Path(__file__).parent / "results"
LONG: Final = frozenset({"hundred_thousand"})
"""Run only when named: `make bench-100k`."""


_RUN: Final = re.compile(r"^def run\((options: Options|directory: Path)\b", re.MULTILINE)


def names() -> list[str]:
    """Every module here that has a `run`, found by its source so that none is imported that is not run."""
    folder = Path(__file__).parent
    found = [module.name for module in pkgutil.iter_modules(benchmarks.__path__) if not module.ispkg]
    return [name for name in found if _RUN.search((folder / f"{name}.py").read_text())]


def benchmark(name: str) -> Callable[[Options], Outcome]:
    run = importlib.import_module(f"benchmarks.{name}").run
    if "options" in inspect.signature(run).parameters:
        return run

    def in_a_directory(options: Options) -> Outcome:
        with options.directory() as directory:
            figures = run(directory)
        return Outcome(name, [{key: value for key, value in figures.items() if key != "case"}])

    return in_a_directory


def parse(arguments: Sequence[str]) -> tuple[list[str], Options, Path]:
    known = names()
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure Flow beside its peers.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"which: {', '.join(known)}")
    parser.add_argument("--seconds", type=float, default=Options.seconds, help="length of a window")
    parser.add_argument("--repeats", type=int, default=Options.repeats, help="of each; the median counts")
    parser.add_argument("--warm-up", type=float, default=Options.warm_up_s, help="seconds before each window")
    parser.add_argument("--share", type=float, default=Options.share, help="share of the full number of clients")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder for the file of results")
    given = parser.parse_args(arguments)
    for name in given.names:
        if name not in known:
            parser.error(f"there is no benchmark {name}; there are {', '.join(known)}")
    options = Options(seconds=given.seconds, repeats=given.repeats, warm_up_s=given.warm_up, share=given.share)
    return given.names or [name for name in known if name not in LONG], options, given.results


def main(arguments: Sequence[str]) -> int:
    chosen, options, folder = parse(arguments)
    outcomes: list[Outcome] = []
    failed = []
    for name in chosen:
        console.print(f"[bold]{name}[/bold] …")
        try:
            outcome = benchmark(name)(options)
        except Exception:  # noqa: BLE001 - told, and the others are run all the same
            traceback.print_exc()
            failed.append(name)
            continue
        outcomes.append(outcome)
        print(json.dumps(outcome.as_json()), flush=True)
        console.print(as_table([outcome]))
    if outcomes:
        console.print("written to", str(write(folder, outcomes, options, machine())))
    if failed:
        console.print(f"[red]failed: {', '.join(failed)}[/red]")
    return 1 if failed else 0


if __name__ == "__main__":
    # As Ctrl-C: what was started is ended on the way out.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sys.exit(main(sys.argv[1:]))
