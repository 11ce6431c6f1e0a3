"""Topics: the names of the fan-outs that people get without asking, by where they are and what they like.

Whoever announces an event and whoever connects to `/events` make the names here, so that they meet. Pure.
"""

from collections.abc import Iterable
from typing import Final

CELL_PRECISION: Final = 4
"""Characters of geohash: a cell of about 39 km by 20 km."""

MAX_INTERESTS: Final = 32

_ALPHABET: Final = "0123456789bcdefghjkmnpqrstuvwxyz"
_BITS_A_CHARACTER: Final = 5


def geohash(longitude: float, latitude: float, precision: int = CELL_PRECISION) -> str:
    """The geohash cell that holds a point given in degrees."""
    ranges = [[-180.0, 180.0], [-90.0, 90.0]]
    point = (longitude, latitude)
    cell = []
    value = 0
    for bit in range(precision * _BITS_A_CHARACTER):
        axis = bit % 2
        low, high = ranges[axis]
        middle = (low + high) / 2
        is_upper = point[axis] >= middle
        ranges[axis] = [middle, high] if is_upper else [low, middle]
        value = value * 2 + is_upper
        if bit % _BITS_A_CHARACTER == _BITS_A_CHARACTER - 1:
            cell.append(_ALPHABET[value])
            value = 0
    return "".join(cell)


def location_topic(coordinates: tuple[float, float]) -> str:
    """The topic of a place, given as (longitude, latitude)."""
    return f"location:{geohash(*coordinates)}"


def interest_topics(tags: Iterable[str]) -> list[str]:
    """One topic a tag, without regard to case and outer spaces, each once, at most 32."""
    names = dict.fromkeys(f"interest:{tag.strip().casefold()}" for tag in tags if tag.strip())
    return list(names)[:MAX_INTERESTS]
