"""100,000 sockets on one machine, the load generator included: six edges, five minutes, nobody dropped.

Each client is signed in and in two rooms: one of 100, where people chat by the clock, and one that holds everybody.
Every few seconds somebody says something to everybody; how long the last of them waits for it is the broadcast's time.
"""

import time
from functools import partial
from itertools import chain
from typing import Any, Final

from benchmarks.load.fleet import Fleet, fleet, source
from benchmarks.load.orders import Load, Newcomer
from benchmarks.outcome import Check, Options, Outcome
from benchmarks.percentiles import percentile
from benchmarks.processes import resident
from benchmarks.servers.database import mongodb
from benchmarks.servers.flow import Flow, flow

CLIENTS: Final = 100_000
EDGES: Final = 6
ROOM: Final = 100
CHAT_RATE: Final = 50.0
PROCESSES: Final = 6
HELD_WINDOWS: Final = 30
_AT_ONCE: Final = 300
_SETTINGS: Final[dict[str, Any]] = {"actors": {"max_active": 150_000}}
"""A host keeps 50,000 rooms and sessions as it comes; here one host has everybody's."""


def run(options: Options) -> Outcome:
    with options.directory() as directory, mongodb(directory) as database:
        start = partial(flow, directory, database, edges=EDGES, settings=_SETTINGS)
        with start() as server, fleet(PROCESSES) as crowd:
            row = _measured(options, server, crowd)
    checks = [
        Check("sockets held", row["clients"], None, options.scaled(CLIENTS)),
        Check("sockets dropped", row["dropped"], None, 0, at_most=True),
        Check("seconds until a broadcast is everywhere", row["broadcast_s_max"], None, 3, at_most=True),
        Check("chat delivery p99, ms", row["chat_ms_p99"], None, 500, at_most=True),
    ]
    return Outcome("hundred_thousand", [row], checks)


def _measured(options: Options, server: Flow, crowd: Fleet) -> dict[str, Any]:
    count = options.scaled(CLIENTS // ROOM) * ROOM
    members = [list(range(first, first + ROOM)) for first in range(0, count, ROOM)]
    *rooms, everybody = server.rooms([*members, list(range(count))])
    of = {number: room for room, people in zip(rooms, members, strict=True) for number in people}
    people = [Newcomer(number, source(number), server.auth(number), (of[number], everybody)) for number in range(count)]
    arrival = crowd.connect(server.target(), people, _AT_ONCE)
    roles, generator = server.roles(), dict.fromkeys(crowd.pids, "generator")
    senders = tuple(people[turn] for turn in range(5) for people in members)
    held_until = time.monotonic() + options.seconds * HELD_WINDOWS
    chat_ms: list[float] = []
    broadcasts_s: list[float] = []
    loaded = []
    while time.monotonic() < held_until:
        chat = Load(0.0, 0.0, options.seconds, senders, rate=CHAT_RATE, record_deliveries=True)
        loaded = crowd.load(chat)
        chat_ms += chain.from_iterable(part.deliveries_ms for part in loaded)
        one = Load(0.0, 0.0, 1.0, (0,), room=everybody, rate=1.0, record_deliveries=True)
        loaded = crowd.load(one)
        crowd.settle(loaded, timeout_s=30)
        broadcasts_s.append(max(chain.from_iterable(part.deliveries_ms for part in loaded)) / 1000)
    account, settled = crowd.settle(loaded)
    sizes = {**resident(roles), **resident(generator)}
    return {
        "server": server.name,
        "clients": count,
        "connects_per_s": arrival.per_second,
        "dropped": sum(part.connections_lost for part in settled),
        "accepted_in_all": account.check(),
        "chat_ms_p50": percentile(chat_ms, 0.5),
        "chat_ms_p99": percentile(chat_ms, 0.99),
        "broadcasts": len(broadcasts_s),
        "broadcast_s_median": percentile(broadcasts_s, 0.5),
        "broadcast_s_max": max(broadcasts_s),
        **{f"mb_{role}": size / 1e6 for role, size in sorted(sizes.items())},
        "mb_in_all": sum(sizes.values()) / 1e6,
        "settings": server.settings,
    }
