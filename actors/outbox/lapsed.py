"""The journals of hosts that renew them no more, taken over one at a time. Used by the relay, which does the work.

A journal that is worked out is looked at again later, after as long as its host has been silent: a host that was
stopped and went on may have stored something since.
"""

from typing import Final, Protocol

from cluster.kernel.clock import Clock
from storage.ports import ChatLog, Journals
from storage.records import JournalMark, OwedMessage

_LOOK_AGAIN_MS: Final = 60_000


class LapsedPorts(Protocol):
    @property
    def chat_log(self) -> ChatLog: ...
    @property
    def journals(self) -> Journals: ...


class LapsedJournals:
    """Holds at most one. All of it raises FlowError when storage is away; the lease then runs out by itself."""

    def __init__(self, worker: str, ports: LapsedPorts, clock: Clock, lease_ms: int, page: int) -> None:
        self._worker = worker
        self._ports = ports
        self._clock = clock
        self._lease_ms = lease_ms
        self._page = page
        self._mark: JournalMark | None = None
        self._settled = 0
        self.taken = 0

    async def next(self) -> list[OwedMessage]:
        """The next page of what the journal in hand owes; it stays the next until it is settled. Empty when every
        journal has a host or nothing left."""
        if self._mark is None:
            self._mark = await self._ports.journals.lease_lapsed(self._worker, self._clock.now_ms(), self._lease_ms)
            if self._mark is None:
                return []
            self._settled = self._mark.settled
        owed = await self._ports.chat_log.owed_of(self._mark.journal, self._settled, None, self._page)
        if not owed:
            await self._rest(self._mark)
        return owed

    async def settle(self, owed: list[OwedMessage]) -> None:
        """This page is worked out."""
        if self._mark is None:
            return
        self.taken += len(owed)
        self._settled = owed[-1].number
        if not await self._ports.journals.advance(self._mark, self._settled, self._clock.now_ms() + self._lease_ms):
            self._mark = None

    async def _rest(self, mark: JournalMark) -> None:
        self._mark = None
        now_ms = self._clock.now_ms()
        again_ms = now_ms + max(_LOOK_AGAIN_MS, now_ms - mark.renewed_ms)
        await self._ports.journals.advance(mark, self._settled, again_ms)
