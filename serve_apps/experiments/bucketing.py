"""From a unit's id to a place between 0 and 1, and from there to a variation: exactly as GrowthBook's SDKs do it.

Pure. Versions 1 and 2 of the hash give the same numbers as GrowthBook's public test vectors
(https://docs.growthbook.io/lib/build-your-own), so an experiment may be moved between the two without reshuffling.
Ranges are half-open; less coverage shortens every range and moves none, so raising it keeps everybody where they are.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

HASH_VERSIONS: Final = (1, 2)
_OFFSET: Final = 0x811C9DC5
_PRIME: Final = 0x01000193
_WEIGHT_TOLERANCE: Final = 0.01


class Range(NamedTuple):
    """From `start` up to, and without, `end`; both 0 to 1."""

    start: float
    end: float

    def holds(self, place: float) -> bool:
        return self.start <= place < self.end


def fnv1a32(text: str) -> int:
    """The 32-bit FNV-1a hash, character by character: beyond ASCII that is how the SDKs do it, not byte by byte."""
    value = _OFFSET
    for character in text:
        value = ((value ^ ord(character)) * _PRIME) & 0xFFFFFFFF
    return value


def place_of(seed: str, unit: str, version: int = 2) -> float | None:
    """0 up to 1, in steps of 1/10,000 (version 2) or 1/1,000 (version 1); None for a version that does not exist."""
    if version == 2:
        return fnv1a32(str(fnv1a32(seed + unit))) % 10_000 / 10_000
    if version == 1:
        return fnv1a32(unit + seed) % 1_000 / 1_000
    return None


def ranges_of(count: int, coverage: float = 1.0, weights: Sequence[float] | None = None) -> tuple[Range, ...]:
    """One range for each of `count` variations. Coverage is cut to 0..1; weights that are too few, too many or do not
    add up to 1 count as equal ones (definitions are refused for that long before)."""
    covered = min(1.0, max(0.0, coverage))
    if weights is None or len(weights) != count or abs(sum(weights) - 1.0) > _WEIGHT_TOLERANCE:
        weights = equal_weights(count)
    found, start = [], 0.0
    for weight in weights:
        found.append(Range(start, start + covered * weight))
        start += weight
    return tuple(found)


def equal_weights(count: int) -> tuple[float, ...]:
    return (1.0 / count,) * count if count > 0 else ()


def choose(place: float, ranges: Sequence[Range]) -> int | None:
    """The first range that holds the place; None when none does."""
    return next((index for index, one in enumerate(ranges) if one.holds(place)), None)


def in_namespace(unit: str, name: str, part: Range) -> bool:
    """Whether a unit belongs to a part of a namespace; experiments on parts that do not meet share nobody."""
    place = place_of(f"__{name}", unit, version=1)
    return place is not None and part.holds(place)
