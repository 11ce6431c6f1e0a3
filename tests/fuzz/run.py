"""A long run of the fuzzer: `make fuzz INPUTS=1000000 SEED=1`, one line of JSON on standard output.

Inputs are led by the coverage of `realtime/engine` when atheris is there, and grown blindly otherwise (`--blind`). A
finding does not end the run: its input is printed, the engine is made anew, and the exit code is 1 at the end.
"""

import argparse
import asyncio
import json
import os
import resource
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

_MAX_FINDINGS = 10
_REPORT_EVERY = 1_000
_LINE_EVERY = 20_000
"""A line of progress where there is no terminal to draw a bar on."""


class Parts(NamedTuple):
    """What a run needs of the modules that import the engine; they may have to be imported in a special way."""

    bench: Any
    seeds: list[bytes]
    inputs: Any


class Run:
    """Counts one run. `one` takes an input; `report` says how it went."""

    def __init__(self, parts: Parts, total: int, progress: Progress) -> None:
        self._bench_class = parts.bench
        self._total = total
        self._progress = progress
        self._bar = progress.add_task("inputs", total=total)
        self._started = time.perf_counter()
        self.done = 0
        self.findings: list[str] = []
        self.closes: Counter[str] = Counter()
        self._runner = asyncio.Runner()
        self._bench = self._open()
        self._memory_before = _memory_kb()

    def _open(self) -> Any:
        async def make() -> Any:
            bench = self._bench_class()
            await bench.open()
            return bench

        return self._runner.run(make())

    @property
    def is_over(self) -> bool:
        return self.done >= self._total or len(self.findings) >= _MAX_FINDINGS

    def one(self, data: bytes) -> None:
        self.done += 1
        try:
            self._runner.get_loop().run_until_complete(self._bench.run(data))
        except Exception:  # noqa: BLE001 - a finding is any exception at all
            self.findings.append(data.hex())
            self._progress.console.print(data.hex(), traceback.format_exc())
            self._anew()
        if self.done % _REPORT_EVERY == 0:
            self._progress.update(self._bar, completed=self.done)
        if self.done % _LINE_EVERY == 0 and not self._progress.console.is_terminal:
            per_s = self.done / (time.perf_counter() - self._started)
            print(f"{self.done} of {self._total}, {per_s:.0f}/s, {len(self.findings)} findings", file=sys.stderr)

    def _anew(self) -> None:
        self.closes += self._bench.closes
        self._runner.close()
        self._runner = asyncio.Runner()
        self._bench = self._open()

    def report(self, seed: int, guided: bool) -> str:
        elapsed = time.perf_counter() - self._started
        return json.dumps(
            {
                "inputs": self.done,
                "seed": seed,
                "guided": guided,
                "inputs_per_s": round(self.done / elapsed),
                "findings": len(self.findings),
                "finding_inputs": self.findings,
                "left_behind": {name: value for name, value in self._bench.left_behind().items() if value},
                "closes": dict((self.closes + self._bench.closes).most_common()),
                "memory_before_kb": self._memory_before,
                "memory_highest_kb": _memory_kb(),
            }
        )


def _memory_kb() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _parts() -> Parts:
    from tests.fuzz.corpus import seeds
    from tests.fuzz.mutation import inputs
    from tests.fuzz.target import Bench

    return Parts(Bench, seeds(), inputs)


def _instrumented_parts() -> Parts | None:
    """The engine with counters in its branches, or None without atheris."""
    try:
        import atheris
    except ImportError:
        return None
    with atheris.instrument_imports(include=["realtime.engine"]):
        return _parts()


def _guided(run: Run, parts: Parts, seed: int, finish: Callable[[], None]) -> None:
    import atheris

    def one(data: bytes) -> None:
        run.one(data)
        if run.is_over:
            finish()

    with tempfile.TemporaryDirectory() as corpus:
        for number, data in enumerate(parts.seeds):
            (Path(corpus) / str(number)).write_bytes(data)
        options = [f"-seed={seed}", "-max_len=4096", "-verbosity=0", "-timeout=60", "-rss_limit_mb=4096"]
        options.append(f"-artifact_prefix={corpus}/")  # an input that hangs is written there, and its place printed
        atheris.Setup([sys.argv[0], *options, corpus], one)
        atheris.Fuzz()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.run", description=__doc__)
    parser.add_argument("--inputs", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--blind", action="store_true")
    arguments = parser.parse_args()
    instrumented = None if arguments.blind else _instrumented_parts()
    parts = instrumented or _parts()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        run = Run(parts, arguments.inputs, progress)

        def finish() -> None:
            progress.stop()
            print(run.report(arguments.seed, instrumented is not None), flush=True)
            os._exit(1 if run.findings else 0)  # libFuzzer would take an ordinary exit for a crash

        if instrumented is not None:
            _guided(run, parts, arguments.seed, finish)
        for data in islice(parts.inputs(parts.seeds, arguments.seed), arguments.inputs):
            run.one(data)
            if run.is_over:
                break
        finish()


if __name__ == "__main__":
    main()
