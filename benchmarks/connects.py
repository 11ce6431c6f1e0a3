"""Connects a second: ours with a token checked and the person's session told of it, Node's bare; one process each.

Each client counts when its namespace has answered. As many are on the way as a browser reload would bring: 256.
"""

from benchmarks.load.fleet import fleet, source
from benchmarks.load.orders import Newcomer
from benchmarks.measuring import remarks_on
from benchmarks.outcome import Check, Options, Outcome, median_row
from benchmarks.percentiles import percentile
from benchmarks.processes import spent, usage
from benchmarks.rounds import Start
from benchmarks.servers.database import mongodb
from benchmarks.servers.flow import flow
from benchmarks.servers.peers import node, stock_python

CLIENTS, AT_ONCE = 5_000, 256


def run(options: Options) -> Outcome:
    with options.directory() as directory, mongodb(directory) as database:
        starts: tuple[Start, ...] = (lambda: flow(directory, database), node, stock_python)
        ours, theirs, stock = rows = [_measured(options, start) for start in starts]
    rate = "connects_per_s"
    return Outcome(
        "connects",
        rows,
        [
            Check("connects/s with token and session, to Node's bare", ours[rate], theirs[rate], 1.0),
            Check("connects/s to python-socketio's bare", ours[rate], stock[rate], 1.0),
        ],
        remarks_on(rows),
    )


def _measured(options: Options, start: Start) -> dict[str, object]:
    count = options.scaled(CLIENTS)
    repeats = []
    with start() as server:
        for repeat in range(options.repeats):
            numbers = range(repeat * count, (repeat + 1) * count)
            server.people(numbers)
            people = [Newcomer(number, source(number), server.auth(number), ()) for number in numbers]
            roles = server.roles()
            with fleet() as crowd:
                generators = {pid: f"generator {pid}" for pid in crowd.pids}
                before, started = usage(roles), usage(generators)
                arrival = crowd.connect(server.target(), people, AT_ONCE)
                cpu, ours = spent(before, usage(roles)), spent(started, usage(generators))
            repeats.append(
                {
                    "server": server.name,
                    "connects_per_s": arrival.per_second,
                    "generator_share": max(ours.values()) * arrival.per_second / count,
                    "connect_ms_p50": percentile(arrival.latencies_ms, 0.5),
                    "connect_ms_p99": percentile(arrival.latencies_ms, 0.99),
                    **{f"cpu_us_{role}": 1e6 * seconds / count for role, seconds in sorted(cpu.items())},
                }
            )
        return {**median_row(repeats), "clients": count, "settings": server.settings}
