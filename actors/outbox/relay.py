"""The outbox relay: turns what stored messages and answers owe into notifications, push rows and analytics.

A message and what it owes are one document, so neither can be lost without the other. What this host stores is in its
journal (actors/outbox/journal.py), in order; the relay works it out from the front and writes down how far it has come,
at most once a second. If the host dies, another's relay goes on from there. Each step is idempotent by an id, so doing
some of it again is to the same effect. A message it fails on leaves the journal and waits by itself, is tried again
when its lease runs out, and is a dead letter after the last try; so does what a part that stays away holds up.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from actors.outbox.answers import AnswerPorts, AnswerTeller
from actors.outbox.journal import Gap, Journal
from actors.outbox.lapsed import LapsedJournals, LapsedPorts
from actors.outbox.port import EventTitles, Sessions
from actors.outbox.rooms import Mistakes, RoomPorts, RoomTeller
from actors.outbox.teller import Teller
from cluster.kernel.clock import Clock
from cluster.kernel.errors import FlowError
from storage.bounds import batches
from storage.records import OwedMessage

_TRIES: Final = 3
"""So often the front of a journal is tried while a part is away; then it waits by itself and holds up nobody."""
_OWN, _INHERITED = "own", "inherited"


@dataclass(frozen=True, slots=True)
class RelayLimits:
    """Bounds of the relay. `member_page` and the notify concurrency bound its memory whatever a room's size."""

    batch: int = 500
    """Documents that are read from storage at once."""
    round: int = 4_096
    """Messages in memory that are worked out at once: in a rush rooms' people are still read about twice a second."""
    lease_ms: int = 30_000
    hold_ms: int = 10_000
    """A host's journal is its own for so long after a renewal; if the host dies, it is another's that much later."""
    renew_s: float = 1.0
    """How often a host renews its journal, and how much at most is worked out again when it dies."""
    handover: int = 16_384
    handover_bytes: int = 16 * 1024 * 1024
    """Messages that wait for the relay in memory; more are read back from storage."""
    poll_interval_s: float = 1.0
    """How often storage is looked through for what nobody holds."""
    linger_s: float = 0.5
    """How long a round that left nothing lets more gather: rooms' people are read once a round."""
    member_page: int = 128
    concurrent_notifies: int = 32


class RelayPorts(RoomPorts, AnswerPorts, LapsedPorts, Protocol):
    """The storage the relay uses; `storage.open.Storage` has these attributes."""


class OutboxRelay:
    """`renew` before this host stores anything, then `run` and `keep` until they are cancelled, `leave` when nothing is
    stored any more. `wake` makes it look at once."""

    def __init__(
        self,
        name: str,
        journal: Journal,
        ports: RelayPorts,
        sessions: Sessions,
        event_titles: EventTitles,
        clock: Clock,
        limits: RelayLimits,
    ) -> None:
        self._name = name
        self._journal = journal
        self._ports = ports
        self._clock = clock
        self._limits = limits
        self._woken = asyncio.Event()
        self._mistakes = Mistakes()
        self._teller = Teller(ports, sessions, clock, limits.concurrent_notifies)
        self._rooms = RoomTeller(ports, sessions, event_titles, self._teller, self._mistakes, limits.member_page)
        self._answers = AnswerTeller(ports, event_titles, self._teller, self._mistakes)
        self._lapsed = LapsedJournals(name, ports, clock, limits.lease_ms, limits.batch)
        self._looked_at = float("-inf")
        self._tries = {_OWN: 0, _INHERITED: 0}
        self._has_more = False
        self._counts = dict.fromkeys(("messages", "rsvps", "rounds_failed", "renewals_failed", "put_off"), 0)

    def wake(self) -> None:
        """Something was stored that owes."""
        self._woken.set()

    def call_on_rows(self, on_rows: Callable[[], None]) -> None:
        """Whom to call when push rows were written."""
        self._teller.on_rows = on_rows

    def statistics(self) -> dict[str, int]:
        told = {"notifications": self._teller.notifications, "push_rows": self._teller.push_rows}
        work = {"acts": self._answers.recorded, "failed": self._mistakes.count, "taken_over": self._lapsed.taken}
        counts = {**self._counts, **told, **work, **self._journal.statistics()}
        return {f"relay_{name}": count for name, count in counts.items()}

    # --- life ---------------------------------------------------------------------------------------------------------

    async def renew(self) -> None:
        """Others find this host's journal, and leave it alone for a while. Raises FlowError UNAVAILABLE."""
        await self._write_mark(self._limits.hold_ms)

    async def keep(self) -> None:
        """Renew the journal however long a round may take."""
        while True:
            await asyncio.sleep(self._limits.renew_s)
            try:
                await self.renew()
            except FlowError:
                self._counts["renewals_failed"] += 1  # if it goes on, others do the work as well: to the same effect

    async def leave(self) -> None:
        """What is not worked out is whoever's who looks next. Raises FlowError UNAVAILABLE."""
        await self._write_mark(0)

    async def _write_mark(self, hold_ms: int) -> None:
        now_ms = self._clock.now_ms()
        await self._ports.journals.renew(self._journal.id, self._journal.settled, now_ms, now_ms + hold_ms)

    async def run(self) -> None:
        while True:
            self._woken.clear()
            try:
                settled = await self.round()
            except FlowError:
                # A part is away. What was not settled is done again.
                self._counts["rounds_failed"] += 1
                await asyncio.sleep(self._limits.poll_interval_s)
                continue
            if not settled:
                await self._wait()
            elif not self._has_more:
                await asyncio.sleep(self._limits.linger_s)

    async def _wait(self) -> None:
        try:
            async with asyncio.timeout(self._limits.poll_interval_s):
                await self._woken.wait()
        except TimeoutError:
            return

    async def round(self) -> int:
        """A batch of this host's journal, one of what nobody holds when that is due, and one of answers.

        Returns how many documents were settled. Raises FlowError when a part is away.
        """
        self._has_more = False
        held_up: FlowError | None = None
        settled = 0
        try:
            settled += await self._own()
        except FlowError as error:
            held_up = error
        if self._clock.monotonic() - self._looked_at >= self._limits.poll_interval_s:
            settled += await self._left()
        now_ms, limits = self._clock.now_ms(), self._limits
        answered = await self._answers.round(self._name, now_ms, limits.lease_ms, limits.batch)
        self._counts["rsvps"] += answered
        if held_up is not None:
            raise held_up
        return settled + answered

    # --- messages -----------------------------------------------------------------------------------------------------

    async def _own(self) -> int:
        front = self._journal.next(self._limits.round)
        until = 0
        if isinstance(front, Gap):
            owed = await self._ports.chat_log.owed_of(self._journal.id, front.after, front.until, self._limits.batch)
            is_whole = len(owed) < self._limits.batch
            until = front.until if is_whole else owed[-1].number
        else:
            owed = front
            until = owed[-1].number if owed else 0
        settled = await self._pass(_OWN, owed)
        self._journal.settle(until)
        self._has_more = isinstance(front, Gap) or len(front) == self._limits.round
        return settled

    async def _pass(self, whose: str, owed: Sequence[OwedMessage]) -> int:
        """When it returns no journal waits for these: they are worked out, or wait by themselves. How many are settled.
        Raises FlowError when a part is away, and not at every try."""
        try:
            failed = await self._work_out(owed)
        except FlowError:
            self._tries[whose] += 1
            if self._tries[whose] < _TRIES:
                raise
            await self._put_off(owed)
            settled = 0
        else:
            settled = len(owed) - len(failed)
        self._tries[whose] = 0
        return settled

    async def _put_off(self, owed: Sequence[OwedMessage]) -> None:
        until_ms = self._clock.now_ms() + self._limits.lease_ms
        for some in batches(owed):
            await self._ports.chat_log.put_off_owed([one.message.id for one in some], until_ms)
        self._counts["put_off"] += len(owed)

    async def _left(self) -> int:
        """What nobody holds: a page of a journal without its host, and messages that wait by themselves. Storage is
        looked through again at once for as long as there are many."""
        now_ms, limits = self._clock.now_ms(), self._limits
        inherited = await self._lapsed.next()
        settled = await self._pass(_INHERITED, inherited)
        if inherited:
            await self._lapsed.settle(inherited)
        alone = await self._ports.chat_log.lease_owed(self._name, now_ms, limits.lease_ms, limits.batch)
        failed = await self._work_out(alone)
        await self._ports.chat_log.settle_owed([one.message.id for one in alone if one.message.id not in failed])
        if inherited or len(alone) == limits.batch:
            self._has_more = True
        else:
            self._looked_at = self._clock.monotonic()
        return settled + len(alone) - len(failed)

    async def _work_out(self, owed: Sequence[OwedMessage]) -> dict[str, str]:
        """By message's id, what went wrong; those wait by themselves from now on. Raises FlowError when a part is
        away."""
        if not owed:
            return {}
        failed = await self._rooms.tell([one.message for one in owed])
        until_ms = self._clock.now_ms() + self._limits.lease_ms
        for error in dict.fromkeys(failed.values()):
            for some in batches([one for one, what in failed.items() if what == error]):
                await self._ports.chat_log.put_off_owed(some, until_ms)
                await self._ports.chat_log.fail_owed(some, error)
        self._counts["messages"] += len(owed) - len(failed)
        return failed
