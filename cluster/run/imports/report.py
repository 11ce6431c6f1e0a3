"""What an import did: counts and the reasons of what it refused, the first of each kind with its line."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Final

MOST_REASONS: Final = 200


@dataclass
class ImportReport:
    """`rejected` counts every refused line; `reasons` keeps at most 200 of them as (line, reason)."""

    imported: int = 0
    updated: int = 0
    unchanged: int = 0
    rejected: int = 0
    reasons: list[tuple[int, str]] = field(default_factory=list)
    kinds: Counter[str] = field(default_factory=Counter)

    def reject(self, line: int, reason: str) -> None:
        self.rejected += 1
        kind = reason.partition(":")[0]
        if kind in self.kinds or len(self.kinds) < MOST_REASONS:
            self.kinds[kind] += 1
        if len(self.reasons) < MOST_REASONS:
            self.reasons.append((line, reason))

    def count(self, outcome: str) -> None:
        """`outcome` is imported, updated or unchanged."""
        match outcome:
            case "imported":
                self.imported += 1
            case "updated":
                self.updated += 1
            case "unchanged":
                self.unchanged += 1
            case _:
                raise ValueError(f"{outcome!r} is not an outcome of an import")

    def to_wire(self) -> dict[str, Any]:
        return {
            "imported": self.imported,
            "updated": self.updated,
            "unchanged": self.unchanged,
            "rejected": self.rejected,
            "reasons": [{"line": line, "reason": reason} for line, reason in self.reasons],
        }
