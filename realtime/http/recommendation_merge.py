"""The rule by which recommendations from several sources become one list. Pure: no I/O, no clock.

The recommendations operation calls it. It promises: no event twice, none of the excluded ones, at most `limit`, what is
preferred first and in its own order, the rest filled from the fillers in turn, each in its own order, and never fewer
than there are to give.
"""

from collections.abc import Collection, Iterator, Sequence
from itertools import chain, islice, zip_longest
from typing import NamedTuple


class Candidate(NamedTuple):
    """One event that a source proposes. `reason` names the source; `score` orders one source and means nothing
    across sources; `because` are sentences for the person."""

    event_id: str
    reason: str
    score: float | None = None
    because: tuple[str, ...] = ()


class Merged(NamedTuple):
    """`filled` tells that at least one event came from a filler."""

    items: tuple[Candidate, ...]
    filled: bool


def merge(
    preferred: Sequence[Candidate],
    fillers: Sequence[Sequence[Candidate]],
    *,
    excluded: Collection[str],
    limit: int,
) -> Merged:
    """One list of at most `limit`."""
    seen = set(excluded)
    first = tuple(islice(_unseen(preferred, seen), limit))
    rest = tuple(islice(_unseen(_in_turn(fillers), seen), limit - len(first)))
    return Merged(first + rest, bool(rest))


def _unseen(candidates: Sequence[Candidate] | Iterator[Candidate], seen: set[str]) -> Iterator[Candidate]:
    for candidate in candidates:
        if candidate.event_id not in seen:
            seen.add(candidate.event_id)
            yield candidate


def _in_turn(sources: Sequence[Sequence[Candidate]]) -> Iterator[Candidate]:
    rounds = zip_longest(*sources)
    return (candidate for candidate in chain.from_iterable(rounds) if candidate is not None)
