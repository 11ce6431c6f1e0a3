"""What an idle connection costs in resident memory: by websocket, signed in, in one room of 100.

The cost is the slope between a tenth of the clients and all of them, so that what a process holds for itself does not
count. Measured twice for each server that may deflate: with clients that offer it, as every browser does, and without.
"""

import time
from functools import partial
from typing import Any, Final

from benchmarks.load.fleet import fleet
from benchmarks.measuring import newcomers
from benchmarks.outcome import Check, Options, Outcome
from benchmarks.processes import resident
from benchmarks.rounds import Start
from benchmarks.servers.database import mongodb
from benchmarks.servers.flow import flow
from benchmarks.servers.peers import node, stock_python

CLIENTS: Final = 10_000
ROOM: Final = 100
_REST_S: Final = 10.0
"""Longer than a host keeps the caches of a room that nobody touches."""


def run(options: Options) -> Outcome:
    with options.directory() as directory, mongodb(directory) as database:
        ours: Start = partial(flow, directory, database)
        which = ((ours, False), (ours, True), (node, False), (stock_python, False), (stock_python, True))
        rows = [_measured(options, start, deflate=deflate) for start, deflate in which]
    plain, deflating, theirs = rows[:3]
    return Outcome(
        "idle_memory",
        rows,
        [
            Check("KB a connection in the edge", plain["kb_edge"], None, 15, at_most=True),
            Check("KB a connection in the edge, deflate offered", deflating["kb_edge"], None, 15, at_most=True),
            Check("KB a connection in the host", plain["kb_host"], None, 2, at_most=True),
            Check("KB a connection in the edge, to Node's", plain["kb_edge"], theirs["kb_server"], 1.0, at_most=True),
        ],
    )


def _measured(options: Options, start: Start, *, deflate: bool) -> dict[str, Any]:
    count = max(10 * ROOM, options.scaled(CLIENTS))
    members = [list(range(first, first + ROOM)) for first in range(0, count, ROOM)]
    few = len(members) // 10
    with start() as server, fleet() as crowd:
        people = newcomers(server, members, server.rooms(members))
        target, roles = server.target(deflate=deflate), server.roles()
        crowd.connect(target, people[: few * ROOM], at_once=64)
        time.sleep(_REST_S)
        before = resident(roles)
        crowd.connect(target, people[few * ROOM :], at_once=64)
        time.sleep(_REST_S)
        after = resident(roles)
    added = len(people) - few * ROOM
    kilobytes = {f"kb_{role}": (after[role] - before.get(role, 0)) / added / 1000 for role in sorted(after)}
    return {"server": server.name, "deflate_offered": deflate, "clients": added, **kilobytes}
