"""What a client wrote down around the moment of a violation, for whoever has to find the cause."""

from collections import deque
from collections.abc import Iterable
from pathlib import Path

import msgspec

from tests.chaos import records
from tests.chaos.checker.findings import Violation
from tests.chaos.options import Person

_BEFORE, _AFTER = 4, 3


def around(violation: Violation, people: Iterable[Person]) -> list[str]:
    """The last few lines before it and the first few after it that speak of the same room or event."""
    paths = [Path(person.history) for person in people if person.name == violation.client]
    if not paths or not paths[0].exists():
        return []
    before: deque[records.AnyRecord] = deque(maxlen=_BEFORE)
    after: list[records.AnyRecord] = []
    places: dict[tuple[int, int], str] = {}
    for record in records.read(paths[0]):
        if violation.place not in ("", _place(record, places)):
            continue
        if record.at <= violation.at or not violation.at:
            before.append(record)
        elif len(after) < _AFTER:
            after.append(record)
    return [_shown(record) for record in (*before, *after)]


def _place(record: records.AnyRecord, places: dict[tuple[int, int], str]) -> str:
    match record:
        case records.Asked():
            places[record.operation, record.attempt] = record.place
            return record.place
        case records.Answered() | records.GaveUp():
            return places.get((record.operation, record.attempt), "")
        case records.Delivered() | records.Resynced():
            return record.room
        case records.Counted():
            return record.event
        case _:
            return ""


def _shown(record: records.AnyRecord) -> str:
    if isinstance(record, records.Answered) and len(record.messages) > 2:
        record = msgspec.structs.replace(record, messages=(record.messages[0], record.messages[-1]))
    return records.encode(record).decode()
