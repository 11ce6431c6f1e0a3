"""An edge with 10,000 sockets is killed: all of them come back, by the port all edges share, and miss nothing.

Another edge holds those who go on talking in the same rooms, so that there is something to miss. A client comes back
as the official ones do: after half a second and up to a second of jitter, again and again; it joins with `since`, and
what it is given then has to be exactly what it missed.

Twice: once with clients that compete with the server for the processors, once with clients that give way to it. The
first is what this machine can do, the second what an edge does whose clients have processors of their own; giving way
makes them slower to come back, if anything.

Meanwhile a probe from outside says what a stranger waited at the other edge. Beside it stand, between beats of 5 ms,
how late that edge's loop was, how much processor time its thread used, and for how long it was blocked: late without
having stood in line for a processor.
"""

import os
import signal
import time
from functools import partial
from typing import Any, Final

from benchmarks.load.fleet import Fleet, fleet
from benchmarks.load.orders import ComeBack, Load, Returned, Whole
from benchmarks.measuring import newcomers
from benchmarks.outcome import Check, Options, Outcome
from benchmarks.percentiles import percentile
from benchmarks.probing import Probe, edge_gauges
from benchmarks.servers.database import mongodb
from benchmarks.servers.flow import GENEROUS, Flow, flow

LOST: Final = 10_000
ROOM: Final = 101
"""A hundred on the edge that is killed and one, who talks, on the other."""
RATE: Final = 50.0
_TIMEOUT_S: Final = 90.0
_KILLED_AFTER_S: Final = 2.0
_SETTINGS: Final[dict[str, Any]] = {"edge": {**GENEROUS, "pressure_interval_s": 0.005}}


def run(options: Options) -> Outcome:
    rows = [_row(options, gives_way=gives_way) for gives_way in (False, True)]
    checks = []
    for row in rows:
        who = f"clients {row['clients']}"
        checks += [
            Check(f"seconds until all are back and whole, {who}", row["back_s"], None, 15, at_most=True),
            Check(f"ms the other edge's loop was blocked, {who}", row["loop_blocked_ms_max"], None, 100, at_most=True),
            Check(
                f"ms the other edge's loop kept a probe waiting, {who}", row["probe_ms_max"], None, 100, at_most=True
            ),
        ]
    return Outcome("lost_edge", rows, checks)


def _row(options: Options, *, gives_way: bool) -> dict[str, Any]:
    with options.directory() as directory, mongodb(directory) as database:
        start = partial(flow, directory, database, edges=2, settings=_SETTINGS)
        with start() as server, fleet(gives_way=gives_way) as crowd:
            return {"clients": "give way" if gives_way else "compete", **_measured(options, server, crowd)}


def _measured(options: Options, server: Flow, crowd: Fleet) -> dict[str, Any]:
    count = max(1, options.scaled(LOST) // (ROOM - 1))
    members = [list(range(room * ROOM, (room + 1) * ROOM)) for room in range(count)]
    talkers = {people[0] for people in members}
    people = newcomers(server, members, server.rooms(members))
    doomed, other = server.private_target("edge-0"), server.private_target("edge-1")
    crowd.connect(other, [one for one in people if one.number in talkers], at_once=64)
    crowd.connect(doomed, [one for one in people if one.number not in talkers], at_once=64)
    crowd.order([ComeBack(server.target())] * crowd.size)
    load = Load(0.0, 1.0, max(options.seconds, 20.0), tuple(sorted(talkers)), rate=RATE)
    killed: list[float] = []
    pid = server.process.pid("edge-0")

    def kill() -> None:
        os.kill(pid, signal.SIGKILL)
        killed.append(time.monotonic())

    with Probe(other) as probe:
        loaded = crowd.load(load, [(_KILLED_AFTER_S, kill)])
        returned: list[Returned] = crowd.order([Whole(_TIMEOUT_S)] * crowd.size)
        gauges = edge_gauges(other)
    account, settled = crowd.settle(loaded)
    return {
        "server": server.name,
        "lost": sum(part.lost for part in returned),
        "still_away": sum(part.away for part in returned),
        "back_s": max(part.last_s for part in returned) - killed[0],
        "accepted_in_all": account.check(),
        "resynchronised": sum(part.resyncs for part in settled),
        "loop_held_ms_max": gauges["loop_held_s_max"] * 1000,
        "loop_blocked_ms_max": gauges["loop_blocked_s_max"] * 1000,
        "loop_late_ms_max": gauges["loop_late_s_max"] * 1000,
        "probe_ms_p99": percentile(probe.waits_ms, 0.99),
        "probe_ms_max": max(probe.waits_ms),
        "settings": server.settings,
    }
