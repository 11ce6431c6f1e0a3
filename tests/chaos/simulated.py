"""Correct histories, made up: a small server that keeps its promises, and clients that come and go, from one seed.

The checker's tests take these and break one promise in each.
"""

import random
from dataclasses import dataclass, field

from tests.chaos.checker.verdict import History
from tests.chaos.records import (
    Answered,
    AnyRecord,
    Asked,
    Client,
    Connected,
    Counted,
    Database,
    Delivered,
    Disconnected,
    Finished,
    GaveUp,
    Resynced,
    Seen,
    StoredMessage,
    StoredRsvp,
)

EVENT = "event-0"


@dataclass
class Story:
    """What a run left behind; tests change it."""

    records: dict[Client, list[AnyRecord]]
    messages: list[StoredMessage]
    rsvps: list[StoredRsvp]
    capacity: dict[str, int]
    rooms: tuple[str, ...]

    def histories(self) -> list[History]:
        return [
            History(client, self.rooms, lambda records=records: records) for client, records in self.records.items()
        ]

    def database(self) -> Database:
        return Database(tuple(self.messages), tuple(self.rsvps), self.capacity)


@dataclass
class _Phone:
    client: Client
    records: list[AnyRecord] = field(default_factory=list)
    connection: int = 0
    is_connected: bool = False
    operations: int = 0
    joined: dict[str, int] = field(default_factory=dict)
    """Rooms of this connection, and how far they were told."""
    have: dict[str, int] = field(default_factory=dict)


class Simulation:
    """`run` makes a story of so many steps."""

    def __init__(self, seed: int, *, phones: int = 3, rooms: int = 2) -> None:
        self._random = random.Random(seed)
        self._now = 0.0
        self._rooms = tuple(f"room-{index}" for index in range(rooms))
        self._log: dict[str, list[StoredMessage]] = {room: [] for room in self._rooms}
        self._epoch = 1
        self._phones = [_Phone(Client(f"client-{index}", f"user-{index}")) for index in range(phones)]
        self._capacity = 1
        self._answers: dict[str, StoredRsvp] = {}
        self._places = 0

    def run(self, steps: int = 150) -> Story:
        steps_of = (self._send, self._send, self._deliver, self._deliver, self._deliver, self._flap, self._reset)
        steps_of += (self._resync, self._rsvp, self._fail_over, self._history)
        for _ in range(steps):
            phone = self._random.choice(self._phones)
            if phone.is_connected:
                self._random.choice(steps_of)(phone)
            else:
                self._connect(phone)
        for phone in self._phones:
            while not phone.is_connected:
                self._connect(phone)
        for phone in self._phones:
            while self._deliver(phone):
                pass
            phone.records.append(Finished(at=self._tick(), is_connected=True, joined=self._rooms))
        return Story(
            records={phone.client: phone.records for phone in self._phones},
            messages=[message for log in self._log.values() for message in log],
            rsvps=list(self._answers.values()),
            capacity={EVENT: self._capacity},
            rooms=self._rooms,
        )

    def _tick(self) -> float:
        self._now += self._random.random() + 0.001
        return self._now

    def _chance(self, share: float) -> bool:
        return self._random.random() < share

    # --- connections --------------------------------------------------------------------------------------------------

    def _connect(self, phone: _Phone) -> None:
        phone.connection += 1
        phone.is_connected = True
        recovered = bool(phone.joined) and self._chance(0.3)
        phone.records.append(
            Connected(at=self._tick(), connection=phone.connection, transport="websocket", recovered=recovered)
        )
        if not recovered:
            if self._chance(0.2):
                self._flap(phone)  # it breaks before anything is joined, and may be recovered to what was before it
                return
            phone.joined.clear()
            for room in self._rooms:
                self._join(phone, room)

    def _flap(self, phone: _Phone) -> None:
        phone.is_connected = False
        phone.records.append(Disconnected(at=self._tick(), connection=phone.connection, reason="transport error"))

    def _join(self, phone: _Phone, room: str, *, reset: bool = False) -> None:
        log, since = self._log[room], phone.have.get(room)
        phone.operations += 1
        operation = phone.operations
        phone.records.append(
            Asked(at=self._tick(), operation=operation, attempt=1, kind="join", place=room, since=since)
        )
        recovered = since is not None and not reset
        messages = log[since:] if recovered else log[-2:]
        phone.records.append(
            Answered(
                at=self._tick(),
                operation=operation,
                attempt=1,
                seq=len(log),
                epoch=self._epoch,
                recovered=recovered,
                messages=tuple(map(_seen, messages)),
            )
        )
        phone.joined[room] = phone.have[room] = len(log)

    def _reset(self, phone: _Phone) -> None:
        self._join(phone, self._random.choice(self._rooms), reset=True)

    def _resync(self, phone: _Phone) -> None:
        room = self._random.choice(self._rooms)
        phone.records.append(
            Resynced(
                at=self._tick(), connection=phone.connection, room=room, epoch=self._epoch, seq=len(self._log[room])
            )
        )
        self._join(phone, room)

    def _history(self, phone: _Phone) -> None:
        room = self._random.choice(self._rooms)
        phone.operations += 1
        asked = Asked(at=self._tick(), operation=phone.operations, attempt=1, kind="history", place=room)
        page = tuple(map(_seen, self._log[room][-3:]))
        answered = Answered(at=self._tick(), operation=phone.operations, attempt=1, messages=page)
        phone.records += [asked, answered]

    def _fail_over(self, phone: _Phone) -> None:
        self._epoch += 1

    # --- messages -----------------------------------------------------------------------------------------------------

    def _deliver(self, phone: _Phone) -> bool:
        behind = [room for room, at in phone.joined.items() if at < len(self._log[room])]
        if not behind:
            return False
        room = self._random.choice(behind)
        message = self._log[room][phone.joined[room]]
        phone.joined[room] = phone.have[room] = message.seq
        phone.records.append(Delivered(at=self._tick(), connection=phone.connection, room=room, message=_seen(message)))
        return True

    def _send(self, phone: _Phone) -> None:
        room = self._random.choice(self._rooms)
        phone.operations += 1
        operation, key = phone.operations, f"{phone.client.name}-{phone.operations}"
        stored: StoredMessage | None = None
        for attempt in (1, 2):
            phone.records.append(
                Asked(at=self._tick(), operation=operation, attempt=attempt, kind="send", place=room, key=key, text=key)
            )
            if stored is None and self._chance(0.8):
                stored = self._store(phone, room, key)
            if stored is None or self._chance(0.2):
                phone.records.append(GaveUp(at=self._tick(), operation=operation, attempt=attempt, reason="timeout"))
                continue
            phone.records.append(
                Answered(
                    at=self._tick(),
                    operation=operation,
                    attempt=attempt,
                    id=stored.id,
                    seq=stored.seq,
                    epoch=stored.epoch,
                    ts=stored.seq,
                )
            )
            if self._chance(0.8):
                return

    def _store(self, phone: _Phone, room: str, key: str) -> StoredMessage:
        log = self._log[room]
        message = StoredMessage(
            room=room,
            seq=len(log) + 1,
            epoch=self._epoch,
            id=f"{room}-{key}",
            user=phone.client.user,
            key=key,
            text=key,
        )
        log.append(message)
        return message

    # --- answers ------------------------------------------------------------------------------------------------------

    def _rsvp(self, phone: _Phone) -> None:
        wanted = self._random.choice(["going", "going", "declined", "interested"])
        phone.operations += 1
        operation = phone.operations
        phone.records.append(
            Asked(at=self._tick(), operation=operation, attempt=1, kind="rsvp", place=EVENT, status=wanted)
        )
        user = phone.client.user
        before = self._answers.get(user)
        is_same = before is not None and wanted == "going" and before.status in ("going", "waiting")
        if not is_same:
            self._answers[user] = self._answer(user, wanted)
            self._promote()
        if self._chance(0.1):
            phone.records.append(GaveUp(at=self._tick(), operation=operation, attempt=1, reason="timeout"))
            return
        now = self._answers[user]
        phone.records.append(
            Answered(at=self._tick(), operation=operation, attempt=1, status=now.status, attending=self._going())
        )
        phone.records.append(Counted(at=self._tick(), event=EVENT, attending=self._going()))

    def _going(self) -> int:
        return sum(row.status == "going" for row in self._answers.values())

    def _answer(self, user: str, wanted: str) -> StoredRsvp:
        row = StoredRsvp(event=EVENT, user=user, status=wanted)
        self._answers.pop(user, None)
        if wanted != "going":
            return row
        if self._going() < self._capacity:
            return _seated(row, self._free_seat())
        self._places += 1
        return StoredRsvp(event=EVENT, user=user, status="waiting", place=self._places)

    def _free_seat(self) -> int:
        taken = {row.seat for row in self._answers.values()}
        return next(seat for seat in range(1, self._capacity + 1) if seat not in taken)

    def _promote(self) -> None:
        while self._going() < self._capacity:
            line = [row for row in self._answers.values() if row.status == "waiting"]
            if not line:
                return
            first = min(line, key=lambda row: row.place or 0)
            self._answers[first.user] = _seated(first, self._free_seat())


def _seated(row: StoredRsvp, seat: int) -> StoredRsvp:
    return StoredRsvp(event=row.event, user=row.user, status="going", seat=seat)


def _seen(message: StoredMessage) -> Seen:
    return Seen(message.seq, message.id, message.key, message.epoch, message.user, message.text)


def made_up(seed: int) -> Story:
    return Simulation(seed).run()
