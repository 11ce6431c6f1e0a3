"""500 messages a second by the clock in rooms of 10, both durable: how long an ack takes from the intended send."""

from functools import partial

from benchmarks.load.orders import Load
from benchmarks.measuring import remarks_on
from benchmarks.outcome import Check, Options, Outcome
from benchmarks.rounds import compare
from benchmarks.servers.database import mongodb
from benchmarks.servers.flow import flow
from benchmarks.servers.peers import node_durable

RATE, ROOMS, SIZE = 500.0, 50, 10


def run(options: Options) -> Outcome:
    def load(members: list[list[int]]) -> Load:
        by_turns = tuple(people[turn] for turn in range(SIZE) for people in members)
        return Load(0.0, options.warm_up_s, options.seconds, by_turns, rate=RATE, record_deliveries=True)

    with options.directory() as directory, mongodb(directory) as database:
        starts = (partial(flow, directory, database), partial(node_durable, database))
        ours, theirs = rows = compare(options, starts, rooms=ROOMS, room_size=SIZE, load=load)
    checks = [
        Check(f"{figure} to Node's", ours[figure], theirs[figure], 1.0, at_most=True)
        for figure in ("ack_ms_p50", "ack_ms_p99")
    ]
    return Outcome("steady_chat", rows, checks, remarks_on(rows))
