"""Analytics in memory, for tests of the relay. Held to the same contract suite as MongoDB's."""

from collections.abc import Sequence

from storage.bounds import check_batch
from storage.records import AnalyticsEvent
from tests.support.memory_faults import Faults


class MemoryAnalytics:
    """`events` is for tests to look at; `faults` applies to `record`."""

    def __init__(self) -> None:
        self.faults = Faults()
        self.events: dict[str, AnalyticsEvent] = {}

    async def record(self, events: Sequence[AnalyticsEvent]) -> int:
        check_batch(events)
        fault = await self.faults.before()
        before = len(self.events)
        for event in events:
            self.events.setdefault(event.id, event)
        await self.faults.after(fault)
        return len(self.events) - before
