"""Ten times the load for a minute and back: what was accepted arrives, what was not is refused, and it passes.

Open loop in rooms of 10. A message that is refused does not count as lost; one that was accepted and does not come to
every member does. After the surge the p99 of each five seconds is compared with what it was before: of a single second
at this rate it is the fifth worst of 500 messages, which differs by three between seconds of one quiet minute.
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
WINDOW_S: Final = 5
_NORMAL: Final = 1.5
"""A window's p99 is back to normal at this many times the highest window's before the surge."""


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
    seconds, ends = p99_by_window(loaded, 1), int(before_s + surge_s)
    before = p99_by_window(loaded, WINDOW_S)
    normal = max(before.get(start, 0.0) for start in range(0, int(before_s) - WINDOW_S + 1, WINDOW_S))
    after = p99_by_window(loaded, WINDOW_S, ends)
    row |= {
        "accepted_in_all": accepted,
        "sent_in_all": sum(part.sent for part in loaded),
        "p99_ms_before": rounded(normal),
        "p99_ms_surge": rounded(max(seconds.get(second, 0.0) for second in range(int(before_s), ends))),
        "p99_ms_after": rounded(max(after.values())),
        "normal_after_s": back_to_normal(after, ends, int(ends + after_s), normal * _NORMAL),
        "settings": server.settings,
    }
    what = "seconds until p99 is normal again, every accepted message delivered"
    checks = [Check(what, row["normal_after_s"], None, 10, at_most=True)]
    return Outcome("surge", [row], checks, remarks_on([row]))


def p99_by_window(loaded: list[Loaded], length_s: int, begins: int = 0) -> dict[int, float]:
    """Of the acks of accepted messages, by the first second of the window in which each ought to have been sent."""
    windows: dict[int, list[float]] = {}
    for part in loaded:
        for moment, latency in zip(part.ack_times, part.acks_ms, strict=True):
            if moment >= begins:
                start = begins + int(moment - begins) // length_s * length_s
                windows.setdefault(start, []).append(latency)
    return {start: percentile(latencies, 0.99) for start, latencies in windows.items()}


def back_to_normal(windows: dict[int, float], begins: int, ends: int, limit: float) -> float:
    """Seconds after `begins` from which on every window is within the limit; infinite when the last one is not.

    A window in which nothing was accepted is not normal.
    """
    normal_from = ends
    for start in reversed(range(begins, ends - WINDOW_S + 1, WINDOW_S)):
        if windows.get(start, float("inf")) > limit:
            break
        normal_from = start
    return float("inf") if normal_from == ends else float(normal_from - begins)
