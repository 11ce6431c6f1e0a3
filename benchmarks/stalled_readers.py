"""One reader in a hundred reads nothing more: the edge's memory stays where it is and the others feel nothing.

Open loop, 10 rooms of 100. First a window in which everybody reads, then the same load with one member of each room
stalled, long enough for each to fill what the kernel keeps and the edge's outbox. What the others get is reconciled.
"""

import time
from functools import partial
from itertools import chain
from typing import Any, Final

from benchmarks.load.fleet import Fleet, fleet
from benchmarks.load.orders import Load, Stall
from benchmarks.measuring import newcomers, remarks_on, sampled
from benchmarks.outcome import Check, Options, Outcome
from benchmarks.percentiles import percentile
from benchmarks.processes import resident
from benchmarks.reconcile import Account
from benchmarks.servers.database import mongodb
from benchmarks.servers.flow import Flow, flow

RATE: Final = 100.0
ROOMS, SIZE = 10, 100
WINDOWS: Final = 30
"""The stall lasts this many times `--seconds`: five minutes as it comes."""
_TEXT: Final = "x" * 2_000
_LOOKS: Final = 10


def run(options: Options) -> Outcome:
    with options.directory() as directory, mongodb(directory) as database:
        start = partial(flow, directory, database)
        with start() as server, fleet() as crowd:
            row = _measured(options, server, crowd)
    memory = "edge memory at its highest, to the start of the stall"
    latency = "others' delivery p99, to when all read"
    checks = [
        Check(memory, row["mb_edge_highest"], row["mb_edge_start"], 1.1, at_most=True),
        Check(latency, row["delivery_ms_p99"], row["delivery_ms_p99_before"], 1.1, at_most=True),
        Check("stalled readers closed", row["closed"], None, row["stalled"]),
    ]
    return Outcome("stalled_readers", [row], checks, remarks_on([row]))


def _measured(options: Options, server: Flow, crowd: Fleet) -> dict[str, Any]:
    members = [list(range(room * SIZE, (room + 1) * SIZE)) for room in range(ROOMS)]
    stalled = tuple(people[-1] for people in members)
    senders = tuple(chain.from_iterable(people[:-1] for people in members))
    crowd.connect(server.target(), newcomers(server, members, server.rooms(members)), at_once=64)
    load = Load(0.0, options.warm_up_s, options.seconds, senders, rate=RATE, text=_TEXT, record_deliveries=True)
    before, _ = sampled(server, crowd, load)
    crowd.settle(before)
    roles = server.roles()
    sizes = [resident(roles)["edge"]]
    _stall(crowd, stalled, stall=True)
    length = options.seconds * WINDOWS
    longer = Load(0.0, 0.0, length, senders, rate=RATE, text=_TEXT, record_deliveries=True)
    looks = [(length * look / _LOOKS, lambda: sizes.append(resident(roles)["edge"])) for look in range(1, _LOOKS + 1)]
    loaded = crowd.load(longer, looks)
    account, _ = crowd.settle(loaded)
    _stall(crowd, stalled, stall=False)
    time.sleep(1.0)
    _, settled = crowd.settle(loaded, timeout_s=0.1)
    told = list(chain.from_iterable(part.deliveries_ms for part in loaded))
    earlier = list(chain.from_iterable(part.deliveries_ms for part in before))
    return {
        "server": server.name,
        "stalled": len(stalled),
        "closed": sum(part.connections_lost for part in settled),
        "close_codes": {str(code): count for part in settled for code, count in part.close_codes.items()},
        "accepted_in_all": _of_readers(account, set(stalled)).check(),
        "mb_edge_start": sizes[0] / 1e6,
        "mb_edge_highest": max(sizes) / 1e6,
        "delivery_ms_p99_before": percentile(earlier, 0.99),
        "delivery_ms_p99": percentile(told, 0.99),
        "generator_share": max(part.cpu_share for part in loaded),
        "settings": server.settings,
    }


def _stall(crowd: Fleet, numbers: tuple[int, ...], *, stall: bool) -> None:
    crowd.order([Stall(numbers, stall=stall)] * crowd.size)


def _of_readers(account: Account, stalled: set[int]) -> Account:
    """The account without those who read nothing."""
    readers = [standing for standing in account.standings if standing.client not in stalled]
    return Account(account.tallies, readers, account.unanswered)
