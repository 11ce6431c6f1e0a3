"""The outbox relay: turns what a stored message or answer owes into analytics, notifications and push rows.

A message and what it owes are one document, so neither can be lost without the other. What this host stores is handed
to the relay as it is stored, under a lease that was written with it; what nobody works out in time (its host died, or
had too much) is found in storage and leased by whichever relay looks first. The relay records what people did, works
out who is away, has each away person's session record the notification, writes one push row a device, and only then
settles the document. Each step is idempotent by an id, so dying anywhere in between means doing it again to the same
effect. A document it fails on harms no other; it is tried again when its lease runs out, and a dead letter after the
last try.
"""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Protocol, TypeVar

from actors.outbox import acts, texts
from actors.outbox.audience import Audience
from actors.outbox.handover import Handover
from actors.outbox.port import EventTitles, Sessions
from actors.outbox.teller import Teller, TellerPorts
from actors.outbox.texts import Text
from cluster.kernel.clock import Clock
from cluster.kernel.errors import FlowError
from cluster.kernel.ids import Room, RoomKind, parse_room
from storage.ports import Analytics, ChatLog, Memberships, RsvpLedger
from storage.records import AnalyticsEvent, Message, Rsvp

_log = logging.getLogger("flow.actors")

_FEWEST_AT_ONCE: Final = 32
_WRITES_A_ROUND: Final = 4


Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class RelayLimits:
    """Bounds of the relay. `member_page` and the notify concurrency bound its memory whatever a room's size."""

    batch: int = 500
    lease_ms: int = 30_000
    hold_ms: int = 10_000
    """What a host stores is its own relay's for so long; if the host dies, that much later it is another's."""
    handover: int = 16_384
    handover_bytes: int = 16 * 1024 * 1024
    """Messages that wait for the relay in memory; more are found in storage when their hold has run out."""
    poll_interval_s: float = 1.0
    """How often storage is looked through for what nobody holds."""
    linger_s: float = 0.5
    """How long a round that did not fill its batch lets more gather: rooms' people are read once a round."""
    member_page: int = 128
    concurrent_notifies: int = 32


class RelayPorts(TellerPorts, Protocol):
    """The storage the relay uses; `storage.open.Storage` has these attributes."""

    @property
    def chat_log(self) -> ChatLog: ...
    @property
    def memberships(self) -> Memberships: ...
    @property
    def rsvps(self) -> RsvpLedger: ...
    @property
    def analytics(self) -> Analytics: ...


def by_the_few(items: Sequence[Item]) -> Iterator[Sequence[Item]]:
    """Neither the loop nor the database is to be held by one large write while messages wait; but in a rush, when a
    round is full, what each of them costs counts more."""
    size = max(_FEWEST_AT_ONCE, -(-len(items) // _WRITES_A_ROUND))
    return (items[start : start + size] for start in range(0, len(items), size))


class OutboxRelay:
    """Runs until cancelled. `hand_over` gives it what was just stored and makes it look at once."""

    def __init__(
        self,
        name: str,
        ports: RelayPorts,
        sessions: Sessions,
        event_titles: EventTitles,
        clock: Clock,
        limits: RelayLimits,
    ) -> None:
        self._name = name
        self._ports = ports
        self._event_titles = event_titles
        self._clock = clock
        self._limits = limits
        self._wake = asyncio.Event()
        # Half of the hold is left for the work itself.
        self._handover = Handover(
            clock, limit=limits.handover, limit_bytes=limits.handover_bytes, keep_ms=limits.hold_ms // 2
        )
        self._audience = Audience(ports.memberships, sessions, limits.member_page)
        self._teller = Teller(ports, sessions, clock, limits.concurrent_notifies)
        self._looked_at = float("-inf")
        names = ("messages", "rsvps", "acts", "rounds_failed", "failed")
        self._counts = dict.fromkeys(names, 0)

    def hand_over(self, rows: Sequence[object]) -> None:
        """These were just stored and owe; those that are messages are held for this host."""
        self._handover.offer([row for row in rows if isinstance(row, Message)])
        self._wake.set()

    def call_on_rows(self, on_rows: Callable[[], None]) -> None:
        """Whom to call when push rows were written."""
        self._teller.on_rows = on_rows

    def statistics(self) -> dict[str, int]:
        told = {"notifications": self._teller.notifications, "push_rows": self._teller.push_rows}
        counts = {**self._counts, **told, **self._handover.statistics()}
        return {f"relay_{name}": count for name, count in counts.items()}

    async def run(self) -> None:
        while True:
            self._wake.clear()
            try:
                settled = await self.round()
            except FlowError:
                # A part is away. The leases run out by themselves and the documents are taken again.
                self._counts["rounds_failed"] += 1
                settled = 0
            if not settled:
                await self._wait()
            elif settled < self._limits.batch:
                await asyncio.sleep(self._limits.linger_s)

    async def _wait(self) -> None:
        try:
            async with asyncio.timeout(self._limits.poll_interval_s):
                await self._wake.wait()
        except TimeoutError:
            return

    async def round(self) -> int:
        """A batch of what was handed over, one of what lies in storage when that is due, and one of answers.

        Returns how many documents were settled. Raises FlowError when a part is away.
        """
        settled = await self._settle_messages(self._handover.take(self._limits.batch))
        if self._clock.monotonic() - self._looked_at >= self._limits.poll_interval_s:
            settled += await self._lapsed()
        return settled + await self._answers()

    async def _lapsed(self) -> int:
        """Messages that nobody holds. Storage is looked through again at once for as long as there are many."""
        now_ms, limits = self._clock.now_ms(), self._limits
        owed = await self._ports.chat_log.lease_owed(self._name, now_ms, limits.lease_ms, limits.batch)
        if len(owed) < limits.batch:
            self._looked_at = self._clock.monotonic()
        return await self._settle_messages([item.message for item in owed])

    async def _settle_messages(self, messages: list[Message]) -> int:
        """How many of these, at most a batch, owe nothing any more."""
        await self._record([acts.of_message(message) for message in messages])
        by_room: dict[str, list[Message]] = defaultdict(list)
        for message in messages:
            by_room[message.room_id].append(message)
        failed = await self._tell_rooms(by_room)
        for room_id, error in failed.items():
            await self._ports.chat_log.fail_owed([message.id for message in by_room[room_id]], error)
        done = [message.id for message in messages if message.room_id not in failed]
        for some in by_the_few(done):
            await self._ports.chat_log.settle_owed(some)
            self._counts["messages"] += len(some)
        return len(done)

    async def _tell_rooms(self, by_room: dict[str, list[Message]]) -> dict[str, str]:
        """Tell those who are away what was said; by room, what went wrong there."""
        failed: dict[str, str] = {}
        rooms: list[Room] = []
        for room_id in by_room:
            try:
                rooms.append(parse_room(room_id))
            except FlowError as error:
                failed[room_id] = self._error(error, room_id)
        said: dict[str, list[tuple[Message, Text]]] = {}
        async for away in self._audience.away(rooms):
            for room_id, people in away.items():
                work = self._tell_room(room_id, by_room[room_id], people, said)
                if room_id not in failed and (what := await self._error_of(work, room_id)) is not None:
                    failed[room_id] = what
        return failed

    async def _answers(self) -> int:
        now_ms, limits = self._clock.now_ms(), self._limits
        owed = await self._ports.rsvps.lease_owed(self._name, now_ms, limits.lease_ms, limits.batch)
        await self._record([act for answer in owed for act in acts.of_answer(answer)])
        done: list[Rsvp] = []
        for answer in owed:
            error = await self._error_of(self._answer(answer.rsvp), answer.rsvp.event_id)
            if error is None:
                done.append(answer.rsvp)
            else:
                await self._ports.rsvps.fail_owed([answer.rsvp], error)
        if done:
            await self._ports.rsvps.settle_owed(done)
            self._counts["rsvps"] += len(done)
        return len(done)

    async def _record(self, events: Sequence[AnalyticsEvent]) -> None:
        for some in by_the_few(events):
            self._counts["acts"] += await self._ports.analytics.record(some)

    async def _error_of(self, work: Awaitable[None], what: str) -> str | None:
        """What went wrong when trying again at once would not help, in words without personal data.

        Raises FlowError when a part is away.
        """
        try:
            await work
        except Exception as error:
            if isinstance(error, FlowError) and error.kind.retryable:
                raise
            return self._error(error, what)
        return None

    def _error(self, error: Exception, what: str) -> str:
        self._counts["failed"] += 1
        _log.error("what %s owes was not worked out", what, exc_info=error)
        return error.kind.code if isinstance(error, FlowError) else type(error).__name__

    async def _tell_room(
        self, room_id: str, messages: list[Message], away: list[str], said: dict[str, list[tuple[Message, Text]]]
    ) -> None:
        """`said` keeps what each room's people are told, since a large room's come on several pages."""
        if room_id not in said:
            said[room_id] = await self._said(room_id, messages)
        await asyncio.gather(
            *(
                self._teller.tell(user_id, message.id, text, "chat")
                for message, text in said[room_id]
                for user_id in away
                if user_id != message.user_id
            )
        )

    async def _said(self, room_id: str, messages: list[Message]) -> list[tuple[Message, Text]]:
        """What those who are away are told; names are read only when somebody is."""
        place_name = await self._place_name(room_id)
        senders = {user.id: user.name for user in await self._ports.users.by_ids([m.user_id for m in messages])}
        return [(m, texts.chat_message(m, senders.get(m.user_id, "Someone"), place_name)) for m in messages]

    async def _place_name(self, room_id: str) -> str:
        room = parse_room(room_id)
        if room.kind is RoomKind.EVENT and room.event_id is not None:
            event = await self._event_titles.title(room.event_id)
            return event.title if event is not None else ""
        record = await self._ports.chat_log.room(room_id)
        return record.name if record is not None and room.kind is RoomKind.GROUP else ""

    async def _answer(self, rsvp: Rsvp) -> None:
        if rsvp.status != "going":
            return
        event = await self._event_titles.title(rsvp.event_id)
        if event is None:
            return
        cause = f"{rsvp.event_id}:{rsvp.user_id}:{rsvp.status}:{rsvp.at_ms}"
        if rsvp.promoted:
            await self._teller.tell(rsvp.user_id, cause, texts.promoted(rsvp, event.title), "events")
        if rsvp.user_id != event.organizer_id:
            person = await self._ports.users.by_id(rsvp.user_id)
            text = texts.rsvp_for_organizer(rsvp, person.name if person else "Someone", event.title)
            await self._teller.tell(event.organizer_id, cause, text, "events")
