"""How long a room left everybody who was writing without an answer."""

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence

from tests.chaos.checker.log import Send


def longest_silences(sends: Iterable[Send], end: float) -> dict[str, float]:
    """For each room the longest time, in seconds, in which somebody waited for an ack and none came."""
    rooms: dict[str, list[Send]] = defaultdict(list)
    for send in sends:
        rooms[send.room].append(send)
    return {room: _longest(of_room, end) for room, of_room in rooms.items()}


def _longest(sends: Sequence[Send], end: float) -> float:
    # At one instant an ack comes before a question: whoever asks then has not waited yet.
    moments = sorted(
        [(send.asked_at, 2, 1) for send in sends]
        + [(send.acked_at, 0, -1) for send in sends if send.acked_at is not None]
        + [(send.ended_at if send.is_settled else end, 1, -1) for send in sends if send.acked_at is None]
    )
    waiting, since, longest = 0, 0.0, 0.0
    for at, kind, change in moments:
        if waiting:
            longest = max(longest, at - since)
        if kind == 0 or not waiting:
            since = at
        waiting += change
    return longest


def percentile(values: Iterable[float], share: float) -> float:
    """The smallest value that at least this share of all are not above (nearest rank); 0 for none."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else 0.0
