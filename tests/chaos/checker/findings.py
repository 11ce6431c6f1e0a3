"""What the checker found: how often each kind of broken promise, and the first of them with their words."""

from collections import Counter
from collections.abc import Iterable
from typing import Final

import msgspec

KINDS: Final[dict[str, str]] = {
    "lost": "acked and not stored, or stored and never shown to a client that was joined",
    "phantom": "shown to a client and not stored",
    "repeated": "one (room, seq) twice on a connection without a join between, or one clientMsgId stored twice",
    "reordered": "shown out of order, or acked before another was sent and numbered after it",
    "gaps": "a hole in what a connection was shown, without a resync, or in the stored seqs",
    "stale": "a join that shows less than the client had already seen",
    "unasked": "a message on a connection that had not joined its room",
    "wrong_answer": "one clientMsgId answered differently, or an answer that differs from what is stored",
    "fence": "a message of an older epoch stored after one of a newer",
    "oversold": "more people going than places, or one seat twice",
    "waitlist": "somebody waits though a place is free, or longer than one who came later",
    "rsvp_lost": "an acked answer to an event that is not what is stored",
    "refused": "a right request was answered with an error that may not be tried again",
    "stranded": "a client that was not back and joined when everything was healed",
}

_EXAMPLES_A_KIND: Final = 5


class Violation(msgspec.Struct, frozen=True, kw_only=True):
    """One broken promise. `place` is a room or an event; `client` is empty when the database alone shows it."""

    kind: str
    sentence: str
    place: str = ""
    client: str = ""
    at: float = 0.0


class Findings:
    """Counts everything and keeps the first few of each kind."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self._examples: dict[str, list[Violation]] = {}

    def add(self, violation: Violation, times: int = 1) -> None:
        assert violation.kind in KINDS, violation.kind
        self.counts[violation.kind] += times
        kept = self._examples.setdefault(violation.kind, [])
        if len(kept) < _EXAMPLES_A_KIND:
            kept.append(violation)

    def examples(self) -> Iterable[Violation]:
        return [violation for kept in self._examples.values() for violation in kept]

    def numbers(self) -> dict[str, int]:
        """Every kind, with zero where nothing was found."""
        return {kind: self.counts[kind] for kind in KINDS}
