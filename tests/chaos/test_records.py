"""Histories survive the way through a file, and what stands around a violation is found in them."""

from pathlib import Path

import pytest

from tests.chaos import records
from tests.chaos.checker.findings import Violation
from tests.chaos.context import around
from tests.chaos.history import HistoryFile
from tests.chaos.options import Person
from tests.chaos.simulated import made_up


@pytest.mark.parametrize("seed", range(5))
def test_what_is_written_is_read(tmp_path: Path, seed: int) -> None:
    written = next(iter(made_up(seed).records.values()))
    history = HistoryFile(tmp_path / "a.jsonl")
    for record in written:
        history.write(record)
    history.close()
    assert list(records.read(tmp_path / "a.jsonl")) == written


def test_a_line_that_was_cut_off_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    whole = records.Connected(at=1.0, connection=1, transport="websocket")
    path.write_bytes(records.encode(whole) + b"\n" + records.encode(whole)[:20])
    assert list(records.read(path)) == [whole]


def test_the_context_of_a_violation_speaks_of_its_room(tmp_path: Path) -> None:
    history = HistoryFile(tmp_path / "a.jsonl")
    for number in range(20):
        history.write(
            records.Asked(at=float(number), operation=number, attempt=1, kind="join", place=f"room-{number % 2}")
        )
    history.close()
    person = Person(
        name="ada", user="u", token="", transports=(), rooms=(), events=(), history=str(tmp_path / "a.jsonl")
    )
    violation = Violation(kind="gaps", sentence="", place="room-1", client="ada", at=11.0)
    lines = around(violation, [person])
    numbers = (5, 7, 9, 11, 13, 15, 17)
    assert all(f'"operation":{number},' in line for number, line in zip(numbers, lines, strict=True)), lines
    assert all("room-1" in line for line in lines)
    assert around(violation, []) == []
