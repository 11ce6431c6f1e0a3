"""The same load on several servers, one after the other, each with fresh clients and rooms for each repeat."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

from benchmarks.load.fleet import fleet
from benchmarks.load.orders import Load
from benchmarks.measuring import measure, newcomers
from benchmarks.outcome import Options, median_row
from benchmarks.servers.server import Server

Start = Callable[[], AbstractContextManager[Server]]


def compare(
    options: Options,
    starts: Sequence[Start],
    *,
    rooms: int,
    room_size: int,
    load: Callable[[list[list[int]]], Load],
    processes: int = 2,
) -> list[dict[str, Any]]:
    """A row for each server, the median of its repeats. `load` is made from the members of the rooms."""
    rows = []
    for start in starts:
        with start() as server:
            repeats = []
            for _ in range(options.repeats):
                members = [list(range(room * room_size, (room + 1) * room_size)) for room in range(rooms)]
                ids = server.rooms(members)
                with fleet(processes) as crowd:
                    crowd.connect(server.target(), newcomers(server, members, ids), at_once=64)
                    repeats.append(measure(server, crowd, load(members)))
            rows.append({**median_row(repeats), "settings": server.settings})
    return rows
