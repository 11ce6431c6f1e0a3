"""Ten times the load for a minute and back: what was accepted arrives, what was not is refused, and it passes.

Open loop in rooms of 10. A message that is refused does not count as lost; one that was accepted and does not come to
every member does. After the surge each second's p99 is compared with what it was before.
"""

from functools import partial
from typing import Final

from benchmarks.load.fleet import fleet
from benchmarks.load.orders import Load, Loaded
from benchmarks.measuring import figures, newcomers, remarks_on, sampled
from benchmarks.outcome import Check, Options, Outcome, rounded
from benchmarks.percentiles import percentile
from benchmarks.servers.database import mongodb
from benchmarks.servers.flow import flow

RATE: Final = 500.0
FACTOR: Final = 10.0
ROOMS, SIZE = 100, 10
_NORMAL: Final = 1.5
"""A second's p99 is back to normal at this many times the highest second's before the surge."""


def run(options: Options) -> Outcome:
    before_s, surge_s, after_s = options.seconds * 2, options.seconds * 6, options.seconds * 3
    members = [list(range(room * SIZE, (room + 1) * SIZE)) for room in range(ROOMS)]
    by_turns = tuple(people[turn] for turn in range(SIZE) for people in members)
    load = Load(
        0.0,
        options.warm_up_s,
        before_s + surge_s + after_s,
        by_turns,
        rate=RATE,
        surge=(before_s, surge_s, FACTOR),
    )
    with options.directory() as directory, mongodb(directory) as database:
        start = partial(flow, directory, database)
        with start() as server, fleet() as crowd:
            crowd.connect(server.target(), newcomers(server, members, server.rooms(members)), at_once=64)
            loaded, samples = sampled(server, crowd, load)
            account, _ = crowd.settle(loaded, timeout_s=60)
            accepted = account.check()
            row = figures(server, load, loaded, samples)
    seconds = p99_by_second(loaded)
    normal = max(seconds.get(second, 0.0) for second in range(int(before_s)))
    ends = int(before_s + surge_s)
    row |= {
        "accepted_in_all": accepted,
        "sent_in_all": sum(part.sent for part in loaded),
        "p99_ms_before": rounded(normal),
        "p99_ms_surge": rounded(max(seconds.get(second, 0.0) for second in range(int(before_s), ends))),
        "normal_after_s": back_to_normal(seconds, ends, int(ends + after_s), normal * _NORMAL),
        "settings": server.settings,
    }
    what = "seconds until p99 is normal again, every accepted message delivered"
    checks = [Check(what, row["normal_after_s"], None, 10, at_most=True)]
    return Outcome("surge", [row], checks, remarks_on([row]))


def p99_by_second(loaded: list[Loaded]) -> dict[int, float]:
    """Of the acks of accepted messages, by the second of the window in which each ought to have been sent."""
    by_second: dict[int, list[float]] = {}
    for part in loaded:
        for moment, latency in zip(part.ack_times, part.acks_ms, strict=True):
            by_second.setdefault(int(moment), []).append(latency)
    return {second: percentile(latencies, 0.99) for second, latencies in by_second.items()}


def back_to_normal(seconds: dict[int, float], begins: int, ends: int, limit: float) -> float:
    """Seconds after `begins` from which on every second is within the limit; infinite when the last one is not.

    A second in which nothing was accepted is not normal.
    """
    normal_from = ends
    for second in range(ends - 1, begins - 1, -1):
        if seconds.get(second, float("inf")) > limit:
            break
        normal_from = second
    return float("inf") if normal_from == ends else float(normal_from - begins)
