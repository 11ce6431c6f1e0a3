"""200 rooms of 10, every member a sender with one message on the way: messages a second, both durable."""

from functools import partial

from benchmarks.load.orders import Load
from benchmarks.measuring import remarks_on
from benchmarks.outcome import Check, Options, Outcome
from benchmarks.rounds import compare
from benchmarks.servers.database import mongodb
from benchmarks.servers.flow import flow
from benchmarks.servers.peers import node_durable

ROOMS, SIZE = 200, 10


def run(options: Options) -> Outcome:
    def load(members: list[list[int]]) -> Load:
        everybody = tuple(number for people in members for number in people)
        return Load(0.0, options.warm_up_s, options.seconds, everybody)

    with options.directory() as directory, mongodb(directory) as database:
        starts = (partial(flow, directory, database), partial(node_durable, database))
        ours, theirs = rows = compare(options, starts, rooms=options.scaled(ROOMS), room_size=SIZE, load=load)
    rate = "messages_per_s"
    checks = [Check("messages/s, to Node's with durable writes", ours[rate], theirs[rate], 5.0)]
    return Outcome("small_rooms", rows, checks, remarks_on(rows))
