"""Journals in memory, for tests of the relay. Held to the same contract suite as MongoDB's."""

import asyncio
from dataclasses import dataclass

from cluster.kernel.ids import new_id
from storage.records import JournalMark
from tests.support.memory_faults import Faults


@dataclass
class _Mark:
    settled: int
    renewed_ms: int
    until_ms: int
    lease: str = ""


class MemoryJournals:
    """`faults` applies to `renew` and `advance`."""

    def __init__(self) -> None:
        self.faults = Faults()
        self._marks: dict[str, _Mark] = {}

    async def renew(self, journal: str, settled: int, now_ms: int, until_ms: int) -> None:
        fault = await self.faults.before()
        self._marks[journal] = _Mark(settled, now_ms, until_ms)
        await self.faults.after(fault)

    async def lease_lapsed(self, worker: str, now_ms: int, lease_ms: int) -> JournalMark | None:
        await asyncio.sleep(0)
        for journal, mark in sorted(self._marks.items(), key=lambda item: item[1].until_ms):
            if mark.until_ms <= now_ms:
                mark.until_ms, mark.lease = now_ms + lease_ms, new_id()
                return JournalMark(journal, mark.settled, mark.renewed_ms, mark.lease)
        return None

    async def advance(self, mark: JournalMark, settled: int, until_ms: int) -> bool:
        fault = await self.faults.before()
        kept = self._marks.get(mark.journal)
        is_mine = kept is not None and kept.lease == mark.lease
        if kept is not None and is_mine:
            kept.settled, kept.until_ms = settled, until_ms
        await self.faults.after(fault)
        return is_mine
