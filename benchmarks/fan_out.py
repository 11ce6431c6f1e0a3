"""One room of 1,000 members, four messages on the way at any time: deliveries a second, and what each costs the server.

A sender waits for its ack and its own copy before it sends again, so no server is asked for more than it delivers. Flow
stores each message with majority and journal before anyone hears of it; the peers store nothing.
"""

from functools import partial

from benchmarks.load.orders import Load
from benchmarks.measuring import remarks_on
from benchmarks.outcome import Check, Options, Outcome
from benchmarks.rounds import compare
from benchmarks.servers.database import mongodb
from benchmarks.servers.flow import flow
from benchmarks.servers.peers import node, stock_python

MEMBERS, IN_FLIGHT = 1_000, 4


def run(options: Options) -> Outcome:
    size = max(IN_FLIGHT, options.scaled(MEMBERS))

    def load(members: list[list[int]]) -> Load:
        return Load(0.0, options.warm_up_s, options.seconds, tuple(members[0][:IN_FLIGHT]), await_copy=True)

    with options.directory() as directory, mongodb(directory) as database:
        starts = (partial(flow, directory, database), node, stock_python)
        ours, theirs, stock = rows = compare(options, starts, rooms=1, room_size=size, load=load)
    deliveries, cost = "deliveries_per_s", "cpu_us_per_delivery"
    return Outcome(
        "fan_out",
        rows,
        [
            Check("deliveries/s, durable, to Node's in memory", ours[deliveries], theirs[deliveries], 2.0),
            Check("server CPU a delivery, to Node's", ours[cost], theirs[cost], 0.6, at_most=True),
            Check("deliveries/s to python-socketio's", ours[deliveries], stock[deliveries], 1.0),
        ],
        remarks_on(rows),
    )
