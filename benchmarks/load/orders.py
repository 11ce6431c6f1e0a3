"""What the one who measures tells the processes of the load generator, and what they answer. All of it can be pickled.

Times are seconds of the machine's monotonic clock, which is one for all processes of a machine.
"""

from array import array
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from benchmarks.reconcile import RoomTally, Standing


@dataclass(frozen=True)
class Target:
    """Which server, and how clients come to it. `deflate` offers permessage-deflate."""

    host: str
    port: int
    deflate: bool = False


@dataclass(frozen=True)
class Newcomer:
    """One client to be. `source` is the address it comes from: one address has only some 28,000 ports."""

    number: int
    source: str
    auth: dict[str, Any]
    rooms: tuple[str, ...]


@dataclass(frozen=True)
class Connect:
    """Bring in these clients, `at_once` of them under way at any time."""

    target: Target
    newcomers: tuple[Newcomer, ...]
    at_once: int
    timeout_s: float = 120.0


@dataclass(frozen=True)
class Connected:
    first_s: float
    last_s: float
    failures: Counter[str]
    latencies_ms: "array[float]"


@dataclass(frozen=True)
class Load:
    """Send for `warm_up_s` and then for `seconds`; only what falls into the second part counts.

    Closed: each of `senders` has `in_flight` messages on the way (`await_copy`: until it has its own copy too). Open:
    `rate` messages a second of this process, by turns, whatever the server does; `surge` is when, after the window
    began, that rate is multiplied, for how long, and by what.
    """

    start_at: float
    warm_up_s: float
    seconds: float
    senders: tuple[int, ...]
    room: str | None = None
    in_flight: int = 1
    await_copy: bool = False
    rate: float = 0.0
    surge: tuple[float, float, float] | None = None
    text: str = "x" * 64
    record_deliveries: bool = False
    drain_s: float = 20.0

    @property
    def window(self) -> tuple[float, float]:
        return self.start_at + self.warm_up_s, self.start_at + self.warm_up_s + self.seconds

    @property
    def phases(self) -> tuple[tuple[float, float], ...]:
        """Of an open loop: how many a second for how long."""
        if self.surge is None:
            return ((self.rate, self.warm_up_s + self.seconds),)
        begins, lasts, factor = self.surge
        before, after = self.warm_up_s + begins, self.seconds - begins - lasts
        return (self.rate, before), (self.rate * factor, lasts), (self.rate, after)


@dataclass
class Loaded:
    """What one process saw. `accepted` and `deliveries` are of the window; tallies are of the whole run so far."""

    sent: int = 0
    accepted: int = 0
    deliveries: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    acks_ms: "array[float]" = field(default_factory=lambda: array("d"))
    deliveries_ms: "array[float]" = field(default_factory=lambda: array("d"))
    ack_times: "array[float]" = field(default_factory=lambda: array("d"))
    cpu_share: float = 0.0
    longest_lag_ms: float = 0.0
    tallies: dict[str, RoomTally] = field(default_factory=dict)
    unanswered: int = 0


@dataclass(frozen=True)
class Settle:
    """Wait until every client stands where its rooms do, `timeout_s` at most."""

    ends: dict[str, int]
    timeout_s: float = 20.0


@dataclass(frozen=True)
class Settled:
    standings: list[Standing]
    strangers: int
    resyncs: int
    connections_lost: int
    close_codes: Counter[int]


@dataclass(frozen=True)
class Stall:
    """These clients read no more; with `stall` false they read again."""

    numbers: tuple[int, ...]
    stall: bool = True


@dataclass(frozen=True)
class ComeBack:
    """From now on a client whose connection is lost comes back to `target` by itself, with what it has as `since`."""

    target: Target
    delay_s: float = 0.5
    jitter_s: float = 1.0


@dataclass(frozen=True)
class Whole:
    """Wait until every client that was lost is back in its rooms."""

    timeout_s: float


@dataclass(frozen=True)
class Returned:
    """When the last client was back, how many still are not, and how many connections were lost so far."""

    last_s: float
    away: int
    lost: int


@dataclass(frozen=True)
class Quit:
    pass
