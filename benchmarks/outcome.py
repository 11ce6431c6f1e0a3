"""What a benchmark is given and what it returns: the contract of every module in this folder that `make bench` finds.

A benchmark is a module with `run(options: Options) -> Outcome`; its name is the module's. It starts what it measures,
ends it, and raises when a run was not sound (a message was lost, a server did not start).
"""

import statistics
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Options:
    """`seconds` of each window, `repeats` of each measurement, `warm_up_s` before each; `share` of the full number of
    clients, for a quick look."""

    seconds: float = 10.0
    repeats: int = 3
    warm_up_s: float = 3.0
    share: float = 1.0

    @contextmanager
    def directory(self) -> Iterator[Path]:
        """A fresh one, gone afterwards."""
        with tempfile.TemporaryDirectory(prefix="flow-bench-") as name:
            yield Path(name)

    def scaled(self, count: int) -> int:
        return max(1, round(count * self.share))


@dataclass(frozen=True)
class Check:
    """One figure and its goal: `wanted` is the least, or with `at_most` the most, that `value` may be."""

    what: str
    ours: float
    theirs: float | None
    wanted: float
    at_most: bool = False

    @property
    def value(self) -> float:
        """The ratio of ours to theirs, or ours where there is nobody to compare with."""
        return self.ours if self.theirs is None else self.ours / self.theirs if self.theirs else float("inf")

    @property
    def is_met(self) -> bool:
        return self.value <= self.wanted if self.at_most else self.value >= self.wanted


@dataclass
class Outcome:
    """`rows` is a dictionary for each server measured; `remarks` say what a reader must know to trust the figures."""

    case: str
    rows: list[dict[str, Any]] = field(default_factory=list)
    checks: list[Check] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        checks = [{**asdict(check), "value": round(check.value, 3), "met": check.is_met} for check in self.checks]
        return {"case": self.case, "rows": self.rows, "checks": checks, "remarks": self.remarks}


def median_row(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The median of every number over the repeats, with the least and the most of each; other values must agree."""
    merged: dict[str, Any] = {}
    for name, first in rows[0].items():
        if isinstance(first, bool) or not isinstance(first, int | float):
            merged[name] = first
            continue
        values = [row.get(name, 0.0) for row in rows]
        merged[name] = rounded(statistics.median(values))
        if len(rows) > 1:
            merged[f"{name}_spread"] = [rounded(min(values)), rounded(max(values))]
    return merged


def rounded(value: float) -> float:
    """To four significant digits, which is more than any of these measurements has."""
    return float(f"{value:.4g}")
