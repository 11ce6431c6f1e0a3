"""Expected against received, client by client: what makes a run that loses, repeats or reorders one message fail.

A room numbers its messages densely. So a client that joined at `start` and is at `position` with no fault has had every
message between exactly once and in order, and all that is left to compare is where it stands with where the room does.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field


class LostMessages(AssertionError):
    """A run whose deliveries are not those that were accepted. Its figures count for nothing."""


class Position:
    """Where one client stands in one room. `faults` is how often what came was not what comes next, `fault` the first
    of them in words."""

    __slots__ = ("fault", "faults", "position", "start")

    def __init__(self, start: int) -> None:
        self.start = start
        self.position = start
        self.faults = 0
        self.fault = ""

    def take(self, first: int, last: int) -> None:
        """Messages `first` to `last`, dense among themselves, have come."""
        if first != self.position + 1:
            self.faults += 1
            self.fault = self.fault or f"{first} came after {self.position}"
        self.position = last


@dataclass
class RoomTally:
    """What the senders of one process know of one room: how many were accepted and the highest number given.

    `unknown` were answered with an error that says nothing of their fate, such as a deadline: each may have been
    stored or not, as a client that gets such an answer has to assume.
    """

    accepted: int = 0
    highest: int = 0
    unknown: int = 0

    def accept(self, seq: int) -> None:
        self.accepted += 1
        self.highest = max(self.highest, seq)


@dataclass(frozen=True)
class Standing:
    """One client in one room, at the end."""

    client: int
    room: str
    start: int
    position: int
    faults: int
    fault: str = ""


@dataclass
class Account:
    """All processes together."""

    tallies: dict[str, RoomTally] = field(default_factory=dict)
    standings: list[Standing] = field(default_factory=list)
    unanswered: int = 0

    def add(self, tallies: Mapping[str, RoomTally], standings: Iterable[Standing], unanswered: int) -> None:
        for room, tally in tallies.items():
            mine = self.tallies.setdefault(room, RoomTally())
            mine.accepted += tally.accepted
            mine.unknown += tally.unknown
            mine.highest = max(mine.highest, tally.highest)
        self.standings.extend(standings)
        self.unanswered += unanswered

    def missing(self) -> list[str]:
        """What is wrong, in words; empty when every accepted message came to every member once and in order."""
        wrong = [f"{self.unanswered} messages were never answered"] if self.unanswered else []
        rooms: dict[str, list[Standing]] = {}
        for standing in self.standings:
            if standing.faults:
                broken = f"{standing.faults} breaks of the order, {standing.fault}"
                wrong.append(f"client {standing.client} in {standing.room}: {broken}")
            rooms.setdefault(standing.room, []).append(standing)
        for room, standings in rooms.items():
            wrong += self._missing_in(room, standings)
        return wrong

    def _missing_in(self, room: str, standings: list[Standing]) -> list[str]:
        first, last = min(standing.start for standing in standings), max(standing.position for standing in standings)
        behind = min(standing.position for standing in standings)
        if behind != last:
            return [f"{room}: its members end at {behind} to {last}"]
        tally = self.tallies.get(room, RoomTally(0, first))
        if tally.highest > last:
            return [f"{room}: accepted up to {tally.highest}, received up to {last}"]
        if not self.unanswered and not tally.accepted <= last - first <= tally.accepted + tally.unknown:
            return [f"{room}: {tally.accepted} accepted, {last - first} received"]
        return []

    def check(self) -> int:
        """How many messages were accepted. Raises LostMessages."""
        wrong = self.missing()
        if wrong:
            raise LostMessages("; ".join(wrong[:10]) + (f" and {len(wrong) - 10} more" if len(wrong) > 10 else ""))
        return sum(tally.accepted for tally in self.tallies.values())
