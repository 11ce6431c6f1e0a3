"""What one client saw of each room, in the order it saw it: each seq once, in order, holes told.

A client is entitled to this. After a join was answered at a position, the connection gets exactly the seqs after it,
one by one, until it is told to resync or the connection ends. A join with `since` that says `recovered` holds exactly
what came after `since`, up to its position; any other join holds the newest page. A connection that the server
recovered goes on where the one before it stood.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from tests.chaos.checker.findings import Findings, Violation
from tests.chaos.records import (
    Answered,
    AnyRecord,
    Asked,
    Client,
    Connected,
    Delivered,
    Disconnected,
    Finished,
    Resynced,
    Seen,
)


@dataclass(slots=True)
class _Room:
    """Where one client stands in one room."""

    covered: int = 0
    """Everything up to here was shown, or the client was told that it would not be."""
    position: int = 0
    is_joined: bool = False
    is_sure: bool = False
    """False between a resync and the next join."""
    was_joined: bool = False
    """On some connection before this one, and nothing has been joined since."""
    shown: set[int] = field(default_factory=set)
    """Since the last join."""
    missing: dict[int, float] = field(default_factory=dict)
    """Jumped over on this connection since the last join, and when."""


Show = Callable[[str, Seen, float, Client], None]
"""Hears of every message that was shown to anyone: room, message, when, to whom."""


class StreamCheck:
    """Feed it one client's whole history with `run`."""

    def __init__(self, client: Client, findings: Findings, show: Show) -> None:
        self._client = client
        self._findings = findings
        self._show = show
        self._rooms: dict[str, _Room] = {}
        self._joins: dict[tuple[int, int], Asked] = {}
        self._finished: Finished | None = None
        self.delivered = 0
        self.resyncs = 0
        self.resets = 0
        """Joins with `since` that were answered with a page."""
        self.recoveries = 0
        self.connections = 0
        self.is_connected = False

    def run(self, records: Iterator[AnyRecord]) -> None:
        for record in records:
            match record:
                case Connected():
                    self._connected(record)
                case Disconnected():
                    self.is_connected = False
                case Asked(kind="join" | "history"):
                    self._joins[record.operation, record.attempt] = record
                case Answered():
                    self._answered(record)
                case Delivered():
                    self._delivered(record)
                case Resynced():
                    self._resynced(record)
                case Finished():
                    self._finished = record
                case _:
                    pass
        for name, room in self._rooms.items():
            self._settle(name, room)

    def finish(self, last: dict[str, int], wanted: tuple[str, ...]) -> None:
        """The end, when everything had been quiet and whole: this client must be joined and have all of it."""
        end = self._finished
        joined = set(end.joined) if end is not None and end.is_connected else set()
        for name in wanted:
            room = self._rooms.get(name)
            if name not in joined or room is None or not room.is_joined:
                self._add("stranded", name, 0.0, "was not back in the room at the end")
            elif room.covered < last.get(name, 0):
                text = f"never got {_span(room.covered + 1, last[name])}"
                self._add("lost", name, 0.0, text, last[name] - room.covered)

    # --- connections --------------------------------------------------------------------------------------------------

    def _connected(self, record: Connected) -> None:
        self.connections += 1
        self.is_connected = True
        for name, room in self._rooms.items():
            if record.recovered:
                # What is continued may be older than the last connection: one that broke before it joined anything.
                room.is_joined = room.is_joined or room.was_joined
            else:
                self._settle(name, room)
                room.was_joined = room.is_joined or room.was_joined
                room.is_joined = False

    def _settle(self, name: str, room: _Room) -> None:
        """What was jumped over did not come after all."""
        for seq, at in room.missing.items():
            self._add("gaps", name, at, f"was shown {seq + 1} or later without {seq}")
        room.missing.clear()

    # --- joins --------------------------------------------------------------------------------------------------------

    def _answered(self, answer: Answered) -> None:
        if answer.code and not answer.retryable:
            self._add("refused", "", answer.at, f"operation {answer.operation} was answered {answer.code}")
        asked = self._joins.pop((answer.operation, answer.attempt), None)
        if asked is None or answer.code:
            return
        for message in answer.messages:
            self._show(asked.place, message, answer.at, self._client)
        if asked.kind == "history":
            self._check_page(asked.place, answer, None, None)
            return
        room = self._rooms.setdefault(asked.place, _Room())
        self._settle(asked.place, room)
        is_recovered = answer.recovered and asked.since is not None
        if asked.since is not None:
            self.recoveries += is_recovered
            self.resets += not is_recovered
            if answer.seq < asked.since:
                text = f"had {asked.since} and was answered with {answer.seq}"
                self._add("stale", asked.place, answer.at, text)
        self._check_page(asked.place, answer, asked.since if is_recovered else None, answer.seq)
        if is_recovered and asked.since is not None and asked.since > room.covered and room.covered:
            text = f"asked since {asked.since} without having got {_span(room.covered + 1, asked.since)}"
            self._add("gaps", asked.place, answer.at, text)
        room.covered = max(room.covered, answer.seq)
        room.position = answer.seq
        room.is_joined = room.is_sure = True
        room.was_joined = False
        room.shown.clear()

    def _check_page(self, place: str, answer: Answered, since: int | None, position: int | None) -> None:
        """A page in order and without holes: from `since` (None: anywhere) to `position` (None: anywhere)."""
        seqs = [message.seq for message in answer.messages]
        if not seqs:
            if position is not None and position > (since or 0):
                text = f"a join since {since} at {position} held nothing"
                self._add("gaps", place, answer.at, text, position - since if since is not None else 1)
            return
        if sorted(seqs) != seqs:
            self._add("reordered", place, answer.at, f"a page in the order {seqs[:20]}")
            return
        first = seqs[0] if since is None else since + 1
        last = seqs[-1] if position is None else position
        wanted = {seq for seq in seqs if first <= seq <= last}
        holes, extra = last - first + 1 - len(wanted), len(seqs) - len(wanted)
        if holes > 0:
            text = f"a page since {since} at {position} held {_span(seqs[0], seqs[-1])}, {holes} short"
            self._add("gaps", place, answer.at, text, holes)
        if extra:
            self._add("repeated", place, answer.at, f"a page since {since} at {position} held {seqs[:20]}", extra)

    # --- deliveries ---------------------------------------------------------------------------------------------------

    def _delivered(self, record: Delivered) -> None:
        self.delivered += 1
        seq, at = record.message.seq, record.at
        self._show(record.room, record.message, at, self._client)
        room = self._rooms.setdefault(record.room, _Room())
        if not room.is_joined:
            self._add("unasked", record.room, at, f"was shown {seq} before joining")
            return
        if seq in room.shown:
            self._add("repeated", record.room, at, f"was shown {seq} twice")
            return
        room.shown.add(seq)
        if not room.is_sure:
            return
        if seq <= room.position:
            if room.missing.pop(seq, None) is None:
                self._add("repeated", record.room, at, f"was shown {seq} though its join was at or past it")
            else:
                self._add("reordered", record.room, at, f"was shown {seq} after {room.position}")
            return
        for skipped in range(room.position + 1, seq):
            room.missing[skipped] = at
        room.position = room.covered = seq

    def _resynced(self, record: Resynced) -> None:
        self.resyncs += 1
        room = self._rooms.setdefault(record.room, _Room())
        room.is_sure = False

    def _add(self, kind: str, place: str, at: float, sentence: str, times: int = 1) -> None:
        self._findings.add(Violation(kind=kind, place=place, client=self._client.name, at=at, sentence=sentence), times)


def _span(first: int, last: int) -> str:
    return f"{first}" if first == last else f"{first}-{last}"
