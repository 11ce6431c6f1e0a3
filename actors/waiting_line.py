"""The waiting line of one event: people in order of arrival, each with a place that this line never gives again.
Pure; owned by the event's machine.

Joining, leaving, the first and anyone's rank cost at most the logarithm of the line's length. Ranks come from a Fenwick
tree (P. Fenwick, 1994) over the spots of the line: a spot stays when its person leaves, and once most spots are empty
the line closes up.
"""

from collections.abc import Iterable
from typing import Final

_CLOSE_UP_SPOTS: Final = 64
"""A shorter line never closes up: it would save nothing."""


class WaitingLine:
    __slots__ = ("_first", "_last_place", "_people", "_spots", "_tree")

    def __init__(self, waiting: Iterable[tuple[int, str]]) -> None:
        in_order = sorted(waiting)
        self._last_place = in_order[-1][0] if in_order else 0
        self._stand(user for _, user in in_order)

    def _stand(self, people: Iterable[str]) -> None:
        """One spot after the other, for these people alone."""
        self._people: list[str | None] = []
        self._spots: dict[str, int] = {}
        self._tree = [0]
        self._first = 0
        """Every spot before this one is empty."""
        for user in people:
            self._append(user)

    def _append(self, user: str) -> None:
        self._spots[user] = len(self._people)
        self._people.append(user)
        node = len(self._people)
        total, child = 1, 1
        while child < node & -node:
            total += self._tree[node - child]
            child *= 2
        self._tree.append(total)

    def __len__(self) -> int:
        return len(self._spots)

    def __contains__(self, user: str) -> bool:
        return user in self._spots

    def join(self, user: str) -> int:
        """The last place, for this person."""
        self._append(user)
        self._last_place += 1
        return self._last_place

    def leave(self, user: str) -> None:
        spot = self._spots.pop(user, None)
        if spot is None:
            return
        self._people[spot] = None
        node = spot + 1
        while node < len(self._tree):
            self._tree[node] -= 1
            node += node & -node
        if len(self._people) > max(_CLOSE_UP_SPOTS, 2 * len(self._spots)):
            self._stand([waiting for waiting in self._people if waiting is not None])

    def first(self) -> str | None:
        while self._first < len(self._people):
            user = self._people[self._first]
            if user is not None:
                return user
            self._first += 1
        return None

    def rank(self, user: str) -> int:
        """1 for the first in line. Raises ValueError when the person does not wait."""
        spot = self._spots.get(user)
        if spot is None:
            raise ValueError(f"{user} does not wait")
        rank, node = 0, spot + 1
        while node:
            rank += self._tree[node]
            node -= node & -node
        return rank
