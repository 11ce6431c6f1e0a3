"""From all histories and the database to one verdict."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from tests.chaos.checker.findings import Findings, Violation
from tests.chaos.checker.log import LogCheck
from tests.chaos.checker.rsvp import RsvpCheck
from tests.chaos.checker.silence import longest_silences, percentile
from tests.chaos.checker.stream import StreamCheck
from tests.chaos.records import AnyRecord, Client, Database


@dataclass(frozen=True, slots=True)
class History:
    """One client's: who, which rooms it is to be in at the end, and its records (asked for once)."""

    client: Client
    rooms: tuple[str, ...]
    records: Callable[[], Iterable[AnyRecord]]


@dataclass(frozen=True, slots=True)
class Verdict:
    """`numbers` is what is printed; `empty` says why the run is too empty to mean anything."""

    numbers: dict[str, Any]
    violations: dict[str, int]
    examples: tuple[Violation, ...]
    empty: tuple[str, ...]

    @property
    def is_good(self) -> bool:
        return not self.empty and not any(self.violations.values())


@dataclass(frozen=True, slots=True)
class Expected:
    """What a run must have had in it. `connected_share` of the clients must have been connected at least once."""

    faults: int = 1
    acks: int = 1
    connected_share: float = 0.9


class _Clock:
    """The first and the last moment anybody wrote down."""

    def __init__(self) -> None:
        self.first, self.last = float("inf"), 0.0

    def follow(self, records: Iterator[AnyRecord]) -> Iterator[AnyRecord]:
        for record in records:
            self.first = min(self.first, record.at)
            self.last = max(self.last, record.at)
            yield record


def judge(
    histories: Sequence[History],
    database: Database,
    *,
    faults: dict[str, int] | None = None,
    expected: Expected | None = None,
) -> Verdict:
    """Read every history once, then decide."""
    findings, clock = Findings(), _Clock()
    log, rsvps = LogCheck(findings), RsvpCheck(findings)
    last: dict[str, int] = {}
    for message in database.messages:
        last[message.room] = max(message.seq, last.get(message.room, 0))
    streams: list[StreamCheck] = []
    for history in histories:
        stream = StreamCheck(history.client, findings, log.show)
        records = rsvps.collect(history.client, log.collect(history.client, clock.follow(iter(history.records()))))
        stream.run(records)
        stream.finish(last, history.rooms)
        streams.append(stream)
    log.judge(database)
    rsvps.judge(database)
    seconds = max(0.0, clock.last - clock.first) if streams else 0.0
    numbers = _numbers(log, rsvps, streams, clock.last, seconds)
    expectation = expected or Expected()
    faults = faults or {}
    return Verdict(
        numbers={**numbers, **findings.numbers(), "faults": faults},
        violations=findings.numbers(),
        examples=tuple(findings.examples()),
        empty=tuple(_emptiness(numbers, streams, faults, expectation)),
    )


def _numbers(
    log: LogCheck, rsvps: RsvpCheck, streams: Sequence[StreamCheck], end: float, seconds: float
) -> dict[str, Any]:
    acked = sum(bool(send.acks) for send in log.sends)
    silences = longest_silences(log.sends, end).values()
    waits = [send.acked_at - send.asked_at for send in log.sends if send.acked_at is not None]
    return {
        "sent": len(log.sends),
        "acked": acked,
        "acked_rsvps": rsvps.acked,
        "delivered": sum(stream.delivered for stream in streams),
        "unacked": len(log.sends) - acked,
        "attempts_unknown": log.unknown,
        "errors": dict(sorted(log.errors.items())),
        "connections": sum(stream.connections for stream in streams),
        "recovered_joins": sum(stream.recoveries for stream in streams),
        "reset_joins": sum(stream.resets for stream in streams),
        "resyncs": sum(stream.resyncs for stream in streams),
        "stale_joins": log.stale_joins(),
        "ack_s": _percentiles(waits),
        "silence_s": _percentiles(silences),
        "messages_per_s": round(acked / seconds, 1) if seconds else 0.0,
        "seconds": round(seconds, 1),
    }


def _percentiles(values: Iterable[float]) -> dict[str, float]:
    known = list(values)
    return {
        "p50": round(percentile(known, 0.5), 3),
        "p99": round(percentile(known, 0.99), 3),
        "max": round(max(known, default=0.0), 3),
    }


def _emptiness(
    numbers: dict[str, Any], streams: Sequence[StreamCheck], faults: dict[str, int], expected: Expected
) -> Iterator[str]:
    if sum(faults.values()) < expected.faults:
        yield f"{sum(faults.values())} faults were injected, {expected.faults} are the least"
    if numbers["acked"] < expected.acks:
        yield f"{numbers['acked']} messages were acked, {expected.acks} are the least"
    connected = sum(stream.connections > 0 for stream in streams)
    if connected < expected.connected_share * len(streams) or not streams:
        yield f"{connected} of {len(streams)} clients were ever connected"
