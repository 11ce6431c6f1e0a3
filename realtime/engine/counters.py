"""The engine's counts: what `SocketEngine.statistics` reports. Plain integers, written from the event loop only."""

from collections import Counter
from dataclasses import dataclass, field


@dataclass(slots=True)
class Counters:
    """Gauges go up and down, the rest only up."""

    connections: int = 0
    """Gauge: admitted connections to namespaces."""

    admissions: int = 0
    """Gauge: connections the application has not yet answered for."""

    sockets_opened: int = 0
    requests_refused: int = 0
    upgrades: int = 0
    polls_repeated: int = 0
    packets_in: int = 0
    messages_out: int = 0
    writes: int = 0
    bytes_out: int = 0
    violations: int = 0
    application_errors: int = 0
    closes: Counter[str] = field(default_factory=Counter)
    """Ended sockets by reason: an error code of ours, or how the client went."""

    def report(self) -> dict[str, float]:
        numbers: dict[str, float] = {
            name: getattr(self, name) for name in self.__slots__ if isinstance(getattr(self, name), int)
        }
        for reason, count in self.closes.items():
            numbers[f"closes.{reason}"] = count
        return numbers
