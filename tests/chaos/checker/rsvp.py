"""Answers to events: no more people than places, nobody passed over in the line, and an acked answer is what is stored.

A person's answers are asked one after the other. An attempt whose outcome is unknown may still be carried out at any
later time, so it loosens what may be stored for that person; it never loosens the number of places.
"""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

from tests.chaos.checker.findings import Findings, Violation
from tests.chaos.records import Answered, AnyRecord, Asked, Client, Counted, Database, StoredRsvp

_RELEASES = frozenset({"declined", "interested"})


@dataclass(slots=True)
class Attempt:
    asked_at: float
    wanted: str
    answered_at: float | None = None
    status: str = ""
    code: str = ""

    @property
    def is_unknown(self) -> bool:
        """It may have been carried out, now or later; a refusal that may be tried again says nothing else."""
        return self.answered_at is None or self.code in ("unavailable", "deadline_exceeded", "internal")

    @property
    def is_acked(self) -> bool:
        return self.answered_at is not None and not self.code


@dataclass(slots=True)
class _Answers:
    """One person's attempts on one event, in order."""

    client: Client
    attempts: list[Attempt] = field(default_factory=list)

    @property
    def last(self) -> Attempt | None:
        return next((attempt for attempt in reversed(self.attempts) if attempt.is_acked), None)

    @property
    def is_plain(self) -> bool:
        """Nothing unknown: what this person was last told is what is so, but for a promotion."""
        return not any(attempt.is_unknown for attempt in self.attempts)


class RsvpCheck:
    """Feed it every client with `collect`, then `judge`, once."""

    def __init__(self, findings: Findings) -> None:
        self._findings = findings
        self._answers: dict[tuple[str, str], _Answers] = {}
        self._told: dict[str, tuple[int, float, str]] = {}
        """The most people that anybody was told are going."""
        self.acked = 0

    def collect(self, client: Client, records: Iterator[AnyRecord]) -> Iterator[AnyRecord]:
        """Passes the records through."""
        attempts: dict[tuple[int, int], tuple[str, Attempt]] = {}
        for record in records:
            match record:
                case Asked(kind="rsvp"):
                    attempt = Attempt(record.at, record.status)
                    attempts[record.operation, record.attempt] = (record.place, attempt)
                    answers = self._answers.setdefault((record.place, client.user), _Answers(client))
                    answers.attempts.append(attempt)
                case Answered() if (record.operation, record.attempt) in attempts:
                    event, attempt = attempts.pop((record.operation, record.attempt))
                    attempt.answered_at, attempt.status, attempt.code = record.at, record.status, record.code
                    if not record.code:
                        self.acked += 1
                        self._tell(event, record.attending, record.at, client)
                case Counted():
                    self._tell(record.event, record.attending, record.at, client)
                case _:
                    pass
            yield record

    def _tell(self, event: str, attending: int, at: float, client: Client) -> None:
        if attending > self._told.get(event, (-1, 0.0, ""))[0]:
            self._told[event] = (attending, at, client.name)

    # --- judging ------------------------------------------------------------------------------------------------------

    def judge(self, database: Database) -> None:
        rows: dict[str, list[StoredRsvp]] = defaultdict(list)
        for row in database.rsvps:
            rows[row.event].append(row)
        for event, capacity in database.capacity.items():
            if not self._judge_places(event, capacity, rows[event]):
                self._judge_line(event, capacity, rows[event])
        stored = {(row.event, row.user): row for row in database.rsvps}
        for (event, user), answers in self._answers.items():
            self._judge_acked(event, answers, stored.get((event, user)))

    def _judge_places(self, event: str, capacity: int, rows: list[StoredRsvp]) -> bool:
        """Whether it was oversold; one finding an event, by the plainest evidence."""
        going = [row for row in rows if row.status == "going"]
        seats = [row.seat for row in going if row.seat is not None]
        told, at, client = self._told.get(event, (0, 0.0, ""))
        held, held_at = self._most_held(event)
        if len(going) > capacity:
            self._add("oversold", event, "", 0.0, f"{len(going)} are going to {capacity} places")
        elif len(set(seats)) != len(seats) or any(not 1 <= seat <= capacity for seat in seats):
            self._add("oversold", event, "", 0.0, f"the seats of {capacity} places are {sorted(seats)}")
        elif told > capacity:
            self._add("oversold", event, client, at, f"{told} were said to be going to {capacity} places")
        elif held > capacity:
            self._add("oversold", event, "", held_at, f"{held} had been told that they are going to {capacity} places")
        else:
            return False
        return True

    def _most_held(self, event: str) -> tuple[int, float]:
        """The most people at once who had been acked a place and had not asked for anything else since."""
        changes: list[tuple[float, int]] = []
        for (name, _), answers in self._answers.items():
            if name != event or not answers.is_plain:
                continue
            attempts = [attempt for attempt in answers.attempts if attempt.is_acked]
            for index, attempt in enumerate(attempts):
                if attempt.status != "going" or attempt.answered_at is None:
                    continue
                until = attempts[index + 1].asked_at if index + 1 < len(attempts) else None
                changes.append((attempt.answered_at, 1))
                if until is not None:
                    changes.append((until, -1))
        most, held, when = 0, 0, 0.0
        for at, change in sorted(changes):
            held += change
            if held > most:
                most, when = held, at
        return most, when

    def _judge_line(self, event: str, capacity: int, rows: list[StoredRsvp]) -> None:
        waiting = {row.user: row for row in rows if row.status == "waiting"}
        going = {row.user for row in rows if row.status == "going"}
        if waiting and len(going) < capacity:
            text = f"{len(waiting)} wait and {capacity - len(going)} of {capacity} places are free"
            self._add("waitlist", event, "", 0.0, text)
            return
        arrivals = [
            (user, attempt)
            for (name, user), answers in self._answers.items()
            if name == event and answers.is_plain and (attempt := _took_a_place(answers)) is not None
        ]
        for user, first in arrivals:
            for other, second in arrivals:
                if first.answered_at is None or first.answered_at >= second.asked_at or user not in waiting:
                    continue
                if other in going:
                    text = f"{user} still waits; {other}, who came later, is going"
                elif other in waiting and (waiting[user].place or 0) > (waiting[other].place or 0):
                    text = f"{user} is behind {other}, who came later"
                else:
                    continue
                self._add("waitlist", event, "", second.asked_at, text)
                return

    def _judge_acked(self, event: str, answers: _Answers, row: StoredRsvp | None) -> None:
        last = answers.last
        if last is None:
            return
        allowed = {last.status} | ({"going"} if last.status == "waiting" else set())
        for attempt in answers.attempts:
            if attempt.is_unknown:
                allowed |= {attempt.wanted} | ({"waiting"} if attempt.wanted == "going" else set())
        found = row.status if row is not None else "nothing"
        if found not in allowed:
            text = f"was told {last.status}, and {found} is stored"
            self._add("rsvp_lost", event, answers.client.name, last.answered_at or 0.0, text)

    def _add(self, kind: str, place: str, client: str, at: float, sentence: str) -> None:
        self._findings.add(Violation(kind=kind, place=place, client=client, at=at, sentence=sentence))


def _took_a_place(answers: _Answers) -> Attempt | None:
    """The attempt that put this person into the line or onto a seat, None when they have let go of it since."""
    found: Attempt | None = None
    for attempt in answers.attempts:
        if attempt.is_acked:
            found = None if attempt.status in _RELEASES else found or attempt
    return found
