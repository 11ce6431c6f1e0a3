"""One load on one server, measured: rates, latencies, the server's CPU for each delivery, the generator's own share."""

from collections import Counter
from collections.abc import Sequence
from itertools import chain
from typing import Any, Final

from benchmarks.load.fleet import Fleet, source
from benchmarks.load.orders import Load, Loaded, Newcomer
from benchmarks.percentiles import percentile
from benchmarks.processes import Usage, spent, usage
from benchmarks.servers.server import Server

GENERATOR_LIMIT: Final = 0.7
"""A generator process that takes more of its core than this may have been what was measured."""


def newcomers(server: Server, members: Sequence[Sequence[int]], rooms: Sequence[str]) -> list[Newcomer]:
    """The clients of these rooms, in the order of their numbers."""
    of = {number: room for room, people in zip(rooms, members, strict=True) for number in people}
    return [Newcomer(number, source(number), server.auth(number), (of[number],)) for number in sorted(of)]


def measure(server: Server, fleet: Fleet, load: Load) -> dict[str, Any]:
    """The row of this load. Raises LostMessages unless everybody has everything."""
    loaded, samples = sampled(server, fleet, load)
    account, _ = fleet.settle(loaded)
    return {**figures(server, load, loaded, samples), "accepted_in_all": account.check()}


def sampled(server: Server, fleet: Fleet, load: Load) -> tuple[list[Loaded], list[Usage]]:
    """Send, and read the server's CPU where the window begins and where it ends."""
    roles = server.roles()
    samples: list[Usage] = []

    def sample() -> None:
        samples.append(usage(roles))

    loaded = fleet.load(load, [(0.0, sample), (load.seconds, sample)])
    return loaded, samples


def figures(server: Server, load: Load, loaded: Sequence[Loaded], samples: Sequence[Usage]) -> dict[str, Any]:
    """What the window shows, whether or not everybody has everything."""
    deliveries = sum(part.deliveries for part in loaded)
    cpu = spent(*samples)
    length = samples[1].at - samples[0].at
    acks = list(chain.from_iterable(part.acks_ms for part in loaded))
    row: dict[str, Any] = {
        "server": server.name,
        "messages_per_s": sum(part.accepted for part in loaded) / load.seconds,
        "deliveries_per_s": deliveries / load.seconds,
        "cpu_us_per_delivery": 1e6 * sum(cpu.values()) / max(1, deliveries),
        **{f"cpu_share_{role}": seconds / length for role, seconds in sorted(cpu.items())},
        "ack_ms_p50": percentile(acks, 0.5),
        "ack_ms_p99": percentile(acks, 0.99),
        "refused": sum((part.refused for part in loaded), Counter()).total(),
        "generator_share": max(part.cpu_share for part in loaded),
    }
    told = list(chain.from_iterable(part.deliveries_ms for part in loaded))
    if load.record_deliveries and told:
        row |= {"delivery_ms_p50": percentile(told, 0.5), "delivery_ms_p99": percentile(told, 0.99)}
    if load.rate:
        row["generator_late_ms_max"] = max(part.longest_lag_ms for part in loaded)
    return row


def remarks_on(rows: Sequence[dict[str, Any]]) -> list[str]:
    """What a reader must know of how these rows were measured."""
    return [
        f"{row['server']}: a generator process took {row['generator_share']:.0%} of its core, more than "
        f"{GENERATOR_LIMIT:.0%}: the figure may be the generator's"
        for row in rows
        if row.get("generator_share", 0.0) > GENERATOR_LIMIT
    ]
