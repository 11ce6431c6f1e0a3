"""One reader in a hundred reads nothing more: the edge's memory stays where it is and the others feel nothing.

Open loop, 10 rooms of 100, twice over the same length, each on a Flow and a MongoDB of its own: once everybody reads,
once one member of each room has stalled, long enough for each to fill what the kernel keeps and the edge's outbox. A
short window before would be no yardstick for minutes: MongoDB's checkpoints alone, one a minute, are in every long
window and in few short ones. Whoever stalls has another device that reads on: a person whose only socket is closed is
away, and what a hundred messages a second then owe is felt by all, whatever became of the socket. What the others get
is reconciled.
"""

import time
from functools import partial
from itertools import chain
from typing import Any, Final

from benchmarks.load.fleet import Fleet, fleet, source
from benchmarks.load.orders import Load, Newcomer, Stall
from benchmarks.measuring import newcomers, remarks_on
from benchmarks.outcome import Check, Options, Outcome
from benchmarks.percentiles import percentile
from benchmarks.processes import resident
from benchmarks.reconcile import Account
from benchmarks.servers.database import mongodb
from benchmarks.servers.flow import Flow, flow

RATE: Final = 100.0
ROOMS, SIZE = 10, 100
WINDOWS: Final = 30
"""Each window lasts this many times `--seconds`: five minutes as it comes."""
_TEXT: Final = "x" * 2_000
_LOOKS: Final = 10
_MEMBERS: Final = [list(range(room * SIZE, (room + 1) * SIZE)) for room in range(ROOMS)]
_STALLED: Final = tuple(ROOMS * SIZE + room for room in range(ROOMS))
"""The second sockets of the last member of each room."""


def run(options: Options) -> Outcome:
    all_read, stalled = rows = [_row(options, ()), _row(options, _STALLED)]
    memory = "edge memory at its highest, to the start of the stall"
    latency = "others' delivery p99, to the same minutes with all reading"
    checks = [
        Check(memory, stalled["mb_edge_highest"], stalled["mb_edge_start"], 1.1, at_most=True),
        Check(latency, stalled["delivery_ms_p99"], all_read["delivery_ms_p99"], 1.1, at_most=True),
        Check("stalled readers closed", stalled["closed"], None, stalled["stalled"]),
    ]
    return Outcome("stalled_readers", rows, checks, remarks_on(rows))


def _row(options: Options, stalled: tuple[int, ...]) -> dict[str, Any]:
    """The figures of one length in which `stalled` read nothing."""
    with options.directory() as directory, mongodb(directory) as database:
        start = partial(flow, directory, database)
        with start() as server, fleet() as crowd:
            return _measured(options, server, crowd, stalled)


def _measured(options: Options, server: Flow, crowd: Fleet, stalled: tuple[int, ...]) -> dict[str, Any]:
    senders = tuple(chain.from_iterable(people[:-1] for people in _MEMBERS))
    crowd.connect(server.target(), _people(server), at_once=64)
    warm_up = Load(0.0, options.warm_up_s, options.seconds, senders, rate=RATE, text=_TEXT)
    crowd.settle(crowd.load(warm_up))
    roles = server.roles()
    sizes = [resident(roles)["edge"]]
    crowd.order([Stall(stalled, stall=True)] * crowd.size)
    length = options.seconds * WINDOWS
    load = Load(0.0, 0.0, length, senders, rate=RATE, text=_TEXT, record_deliveries=True)
    looks = [(length * look / _LOOKS, lambda: sizes.append(resident(roles)["edge"])) for look in range(1, _LOOKS + 1)]
    loaded = crowd.load(load, looks)
    account, _ = crowd.settle(loaded)
    crowd.order([Stall(stalled, stall=False)] * crowd.size)
    time.sleep(1.0)
    _, settled = crowd.settle(loaded, timeout_s=0.1)
    told = list(chain.from_iterable(part.deliveries_ms for part in loaded))
    return {
        "server": server.name,
        "stalled": len(stalled),
        "closed": sum(part.connections_lost for part in settled),
        "close_codes": {str(code): count for part in settled for code, count in part.close_codes.items()},
        "accepted_in_all": _of_readers(account, set(stalled)).check(),
        "mb_edge_start": sizes[0] / 1e6,
        "mb_edge_highest": max(sizes) / 1e6,
        "delivery_ms_p50": percentile(told, 0.5),
        "delivery_ms_p99": percentile(told, 0.99),
        "generator_share": max(part.cpu_share for part in loaded),
        "settings": server.settings,
    }


def _people(server: Flow) -> list[Newcomer]:
    rooms = server.rooms(_MEMBERS)
    second = [
        Newcomer(number, source(number), server.auth(people[-1]), (room,))
        for number, people, room in zip(_STALLED, _MEMBERS, rooms, strict=True)
    ]
    return newcomers(server, _MEMBERS, rooms) + second


def _of_readers(account: Account, stalled: set[int]) -> Account:
    """The account without those who read nothing."""
    readers = [standing for standing in account.standings if standing.client not in stalled]
    return Account(account.tallies, readers, account.unanswered)
