"""Which faults come when. Pure: the same seed and the same cluster make the same schedule, on any machine.

Every kind is dealt from a shuffled deck, so that a short run has as many kinds as fit and a long one has each about as
often. What a fault hits is a number here, and becomes a member when the fault is carried out.
"""

import random
from dataclasses import dataclass
from typing import Final

WARM_UP_S: Final = 3.0
_GAPS_S: Final = (2.0, 5.0)


@dataclass(frozen=True, slots=True)
class Kind:
    """`lasts`: for how long, in seconds, from and to; 0 for what is over at once. `needs` names what must be there."""

    name: str
    says: str
    lasts: tuple[float, float] = (0.0, 0.0)
    needs: str = ""


KINDS: Final[tuple[Kind, ...]] = (
    Kind("kill_host", "kill -9 of a host"),
    Kind("kill_edge", "kill -9 of an edge"),
    Kind("kill_replica", "kill -9 of a Serve replica", needs="recommender"),
    Kind("stop_host", "SIGSTOP of a host for longer than its replacement takes, then SIGCONT", (9.0, 12.0)),
    Kind("pause_host", "SIGSTOP of a host for a moment, then SIGCONT", (0.5, 1.5)),
    Kind("pause_edge", "SIGSTOP of an edge for a moment, then SIGCONT", (0.5, 1.5)),
    Kind("kill_mongod", "kill -9 of mongod"),
    Kind("pause_mongod", "SIGSTOP of mongod, then SIGCONT", (0.5, 2.5)),
    Kind("kill_redis", "kill -9 of Redis"),
    Kind("kill_fork_server", "kill -9 of the fork server"),
    Kind("kill_host_unwritten", "kill -9 of a host while mongod stands still, then SIGCONT", (0.4, 0.8)),
    Kind("cut_link", "every link to a host is reset and refused", (1.0, 4.0)),
    Kind("mute_edges", "nothing from the edges reaches a host; its own words arrive", (1.0, 8.0)),
    Kind("mute_host", "nothing from a host reaches the edges; it hears them", (1.0, 8.0)),
    Kind("evict_host", "the view says that a host is gone, while it lives", (2.0, 5.0)),
    Kind("zombie_host", "SIGSTOP of a host, its shards given away meanwhile, then SIGCONT", (1.5, 2.5)),
    Kind("scale_up", "one more host and one more edge", needs="scale"),
    Kind("scale_down", "one host and one edge fewer", needs="scale"),
    Kind("drain_host", "a host is drained", needs="drain"),
    Kind("drain_edge", "an edge is drained", needs="drain"),
)
BY_NAME: Final = {kind.name: kind for kind in KINDS}


@dataclass(frozen=True, slots=True)
class Fault:
    """`at` is seconds after the start; `pick` chooses among what there is then."""

    at: float
    kind: str
    lasts: float
    pick: int

    def __str__(self) -> str:
        lasting = f" for {self.lasts:.1f} s" if self.lasts else ""
        return f"{self.at:6.1f} s  {self.kind}{lasting}"


def schedule(seed: int, seconds: float, kinds: tuple[str, ...]) -> tuple[Fault, ...]:
    """Faults between the warm-up and the end; the last one's healing may go beyond it. Raises KeyError for a kind that
    does not exist."""
    choice = random.Random(f"chaos {seed}")
    ordered = [BY_NAME[name] for name in sorted(kinds)]
    faults: list[Fault] = []
    deck: list[Kind] = []
    at = WARM_UP_S
    while round(at, 2) < seconds and ordered:
        if not deck:
            deck = choice.sample(ordered, len(ordered))
        kind = deck.pop()
        lasts = round(choice.uniform(*kind.lasts), 2) if kind.lasts[1] else 0.0
        faults.append(Fault(round(at, 2), kind.name, lasts, choice.randrange(2**30)))
        at += choice.uniform(*_GAPS_S)
    return tuple(faults)


def available(*, recommender: bool, commands: frozenset[str], wanted: tuple[str, ...] = ()) -> tuple[str, ...]:
    """The kinds that this cluster can be given; `commands` are those of `flow` that exist."""
    there = commands | ({"recommender"} if recommender else set())
    return tuple(
        kind.name for kind in KINDS if (not kind.needs or kind.needs in there) and (not wanted or kind.name in wanted)
    )
