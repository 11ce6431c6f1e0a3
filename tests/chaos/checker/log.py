"""Messages: what was acked and what was shown, against what is stored, and against the order in real time.

An ack is a promise: the message is stored under that seq, epoch and id, whoever asks again gets the same, and a message
sent after the ack is numbered after it. Nothing may be shown that is not stored.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise

from tests.chaos.checker.findings import Findings, Violation
from tests.chaos.records import Answered, AnyRecord, Asked, Client, Database, GaveUp, Seen, StoredMessage

Ack = tuple[str, int, int, int]
"""id, seq, epoch, ts."""


@dataclass(slots=True)
class Send:
    """One message as its sender knows it: every attempt with the same clientMsgId."""

    client: Client
    room: str
    key: str
    text: str
    asked_at: float
    acked_at: float | None = None
    acks: list[Ack] = field(default_factory=list)
    is_settled: bool = False
    """The client stopped waiting, with an answer or without."""
    ended_at: float = 0.0


class LogCheck:
    """Feed it every client with `collect` and everything shown with `show`; then `judge`, once."""

    def __init__(self, findings: Findings) -> None:
        self._findings = findings
        self._shown: dict[tuple[str, int], dict[Seen, tuple[float, Client]]] = defaultdict(dict)
        self._joins: list[tuple[str, float, int]] = []
        self.sends: list[Send] = []
        self.errors: Counter[str] = Counter()
        self.unknown = 0

    def show(self, room: str, message: Seen, at: float, client: Client) -> None:
        seen = self._shown[room, message.seq]
        if message not in seen or at < seen[message][0]:
            seen[message] = (at, client)

    def collect(self, client: Client, records: Iterator[AnyRecord]) -> Iterator[AnyRecord]:
        """Passes the records through."""
        sends: dict[int, Send] = {}
        joins: dict[tuple[int, int], Asked] = {}
        for record in records:
            match record:
                case Asked(kind="send"):
                    if record.operation not in sends:
                        send = Send(client, record.place, record.key, record.text, record.at)
                        sends[record.operation] = send
                        self.sends.append(send)
                    sends[record.operation].is_settled = False
                case Asked(kind="join"):
                    joins[record.operation, record.attempt] = record
                case Answered():
                    self._answered(record, sends.get(record.operation))
                    asked = joins.pop((record.operation, record.attempt), None)
                    if asked is not None and not record.code:
                        self._joins.append((asked.place, asked.at, record.seq))
                case GaveUp():
                    self.unknown += 1
                    if record.operation in sends:
                        sends[record.operation].is_settled = True
                        sends[record.operation].ended_at = record.at
                case _:
                    pass
            yield record

    def _answered(self, answer: Answered, send: Send | None) -> None:
        if answer.code:
            self.errors[answer.code] += 1
        if send is None:
            return
        send.is_settled = True
        send.ended_at = answer.at
        if not answer.code:
            send.acks.append((answer.id, answer.seq, answer.epoch, answer.ts))
            if send.acked_at is None:
                send.acked_at = answer.at

    # --- judging ------------------------------------------------------------------------------------------------------

    def judge(self, database: Database) -> None:
        places = {(message.room, message.seq): message for message in database.messages}
        self._judge_keys(database)
        lost = self._judge_acks(database)
        phantoms = self._judge_shown(places, lost)
        self._judge_rooms(database, lost | phantoms)
        self._judge_order()

    def _judge_keys(self, database: Database) -> None:
        keys: Counter[tuple[str, str, str]] = Counter()
        places: Counter[tuple[str, int]] = Counter()
        for message in database.messages:
            keys[message.room, message.user, message.key] += 1
            places[message.room, message.seq] += 1
        for (room, user, key), count in keys.items():
            if count > 1:
                self._add("repeated", room, "", 0.0, f"{user}'s {key} is stored {count} times", count - 1)
        for (room, seq), count in places.items():
            if count > 1:
                self._add("repeated", room, "", 0.0, f"{seq} is stored {count} times", count - 1)

    def _judge_acks(self, database: Database) -> set[tuple[str, int]]:
        """Returns the places that were acked and hold nothing of the sort."""
        ids = {message.id: message for message in database.messages}
        keys = {(message.room, message.user, message.key): message for message in database.messages}
        lost: set[tuple[str, int]] = set()
        for send in self.sends:
            if not send.acks:
                continue
            name, at = send.client.name, send.acked_at or 0.0
            first = send.acks[0]
            if any(ack != first for ack in send.acks):
                self._add("wrong_answer", send.room, name, at, f"{send.key} was answered {send.acks}")
                continue
            stored = ids.get(first[0])
            if stored is not None and _is(stored, send, first):
                continue
            held = keys.get((send.room, send.client.user, send.key))
            if stored is None and held is None:
                lost.add((send.room, first[1]))
                self._add("lost", send.room, name, at, f"{send.key} was acked as {first[1]} and is not stored")
            else:
                self._add("wrong_answer", send.room, name, at, f"{send.key} was acked {first} and is {stored or held}")
        return lost

    def _judge_shown(
        self, places: dict[tuple[str, int], StoredMessage], lost: set[tuple[str, int]]
    ) -> set[tuple[str, int]]:
        phantoms: set[tuple[str, int]] = set()
        for place, seen in self._shown.items():
            if place in lost:
                continue
            stored = places.get(place)
            for message, (at, client) in seen.items():
                if stored is None or not _shows(stored, message):
                    phantoms.add(place)
                    what = "nothing" if stored is None else f"{stored.id} of {stored.user}"
                    text = f"was shown {message.id} of {message.user} as {message.seq}; {what} is stored there"
                    self._add("phantom", place[0], client.name, at, text)
        return phantoms

    def _judge_rooms(self, database: Database, explained: set[tuple[str, int]]) -> None:
        rooms: dict[str, list[StoredMessage]] = defaultdict(list)
        for message in database.messages:
            rooms[message.room].append(message)
        for room, messages in rooms.items():
            messages.sort(key=lambda message: message.seq)
            seqs = {message.seq for message in messages}
            for seq in range(1, messages[-1].seq):
                if seq not in seqs and (room, seq) not in explained:
                    self._add("gaps", room, "", 0.0, f"nothing is stored at {seq}")
            for before, after in pairwise(messages):
                if after.epoch < before.epoch:
                    text = f"{after.seq} is of epoch {after.epoch} and comes after epoch {before.epoch}"
                    self._add("fence", room, "", 0.0, text)

    def _judge_order(self) -> None:
        rooms: dict[str, list[Send]] = defaultdict(list)
        for send in self.sends:
            if send.acks:
                rooms[send.room].append(send)
        for room, sends in rooms.items():
            sends.sort(key=lambda send: send.acks[0][1])
            newest = sends[0]
            for send in sends[1:]:
                assert send.acked_at is not None
                if send.acked_at < newest.asked_at:
                    text = (
                        f"{send.key} was acked as {send.acks[0][1]} before {newest.key} = {newest.acks[0][1]} was sent"
                    )
                    self._add("reordered", room, send.client.name, send.acked_at, text)
                if send.asked_at > newest.asked_at:
                    newest = send

    # --- numbers ------------------------------------------------------------------------------------------------------

    def stale_joins(self) -> int:
        """Joins that were answered from before what anybody had been acked or shown when they were asked.

        Such a join is behind and not wrong: what it lacks is delivered after it, or missed and counted as lost.
        """
        known: dict[str, dict[int, float]] = defaultdict(dict)
        for (room, seq), seen in self._shown.items():
            known[room][seq] = min(at for at, _ in seen.values())
        for send in self.sends:
            if send.acked_at is not None:
                seq = send.acks[0][1]
                known[send.room][seq] = min(send.acked_at, known[send.room].get(seq, send.acked_at))
        earliest = {room: _suffix_minimum(times) for room, times in known.items()}
        return sum(at > earliest.get(room, {}).get(seq + 1, at) for room, at, seq in self._joins)

    def _add(self, kind: str, place: str, client: str, at: float, sentence: str, times: int = 1) -> None:
        self._findings.add(Violation(kind=kind, place=place, client=client, at=at, sentence=sentence), times)


def _suffix_minimum(times: dict[int, float]) -> dict[int, float]:
    """For each seq, the earliest time at which it or a later one was known."""
    earliest: dict[int, float] = {}
    least = float("inf")
    for seq in range(max(times), 0, -1):
        least = min(least, times.get(seq, least))
        earliest[seq] = least
    return earliest


def _is(stored: StoredMessage, send: Send, ack: Ack) -> bool:
    return (stored.room, stored.seq, stored.epoch, stored.user, stored.key, stored.text) == (
        send.room,
        ack[1],
        ack[2],
        send.client.user,
        send.key,
        send.text,
    )


def _shows(stored: StoredMessage, message: Seen) -> bool:
    return (stored.id, stored.key, stored.epoch, stored.user, stored.text) == (
        message.id,
        message.key,
        message.epoch,
        message.user,
        message.text,
    )
