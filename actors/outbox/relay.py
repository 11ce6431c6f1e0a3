"""The outbox relay: turns what a stored message or answer owes into analytics, notifications and push rows.

A message and what it owes are one document, so neither can be lost without the other. The relay takes owed documents
under a lease, records what people did, works out who is away, has each away person's session record the notification,
writes one push row a device, and only then settles the document. Each step is idempotent by an id, so dying anywhere in
between means doing it again to the same effect. A document it fails on harms no other; it is tried again when its lease
runs out, and a dead letter after the last try. Every host runs one relay; the leases keep them from each other.
"""

import asyncio
import logging
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from actors.outbox import acts, texts
from actors.outbox.expand import Recipient, notification_id, rows_for
from actors.outbox.port import EventTitles, Sessions
from actors.outbox.texts import Text
from cluster.kernel.clock import Clock
from cluster.kernel.errors import EVENT_NOT_FOUND, USER_NOT_FOUND, FlowError
from cluster.kernel.ids import RoomKind, parse_room
from storage.ports import Analytics, ChatLog, Devices, Memberships, Outbox, RsvpLedger, Users
from storage.records import AnalyticsEvent, Message, Rsvp

_log = logging.getLogger("flow.actors")

_RECORDED_AT_ONCE: Final = 500


@dataclass(frozen=True, slots=True)
class RelayLimits:
    """Bounds of the relay. `member_page` and the notify concurrency bound its memory whatever a room's size."""

    batch: int = 500
    lease_ms: int = 30_000
    poll_interval_s: float = 1.0
    linger_s: float = 0.25
    """How long a round that did not fill its batch lets more gather: a room's people are read once a round."""
    member_page: int = 500
    concurrent_notifies: int = 32


class RelayPorts(Protocol):
    """The storage the relay uses; `storage.open.Storage` has these attributes."""

    @property
    def chat_log(self) -> ChatLog: ...
    @property
    def memberships(self) -> Memberships: ...
    @property
    def rsvps(self) -> RsvpLedger: ...
    @property
    def users(self) -> Users: ...
    @property
    def devices(self) -> Devices: ...
    @property
    def outbox(self) -> Outbox: ...
    @property
    def analytics(self) -> Analytics: ...


class OutboxRelay:
    """Runs until cancelled. `wake` makes it look at once; `on_rows` is called when it wrote push rows."""

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
        self._sessions = sessions
        self._event_titles = event_titles
        self._clock = clock
        self._limits = limits
        self._wake = asyncio.Event()
        self._gate = asyncio.Semaphore(limits.concurrent_notifies)
        self.on_rows: Callable[[], None] = lambda: None
        names = ("messages", "rsvps", "acts", "notifications", "push_rows", "rounds_failed", "failed")
        self._counts = dict.fromkeys(names, 0)

    def wake(self) -> None:
        self._wake.set()

    def statistics(self) -> dict[str, int]:
        return {f"relay_{name}": count for name, count in self._counts.items()}

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
        """One batch of messages and one of answers; returns how many documents were settled."""
        return await self._messages() + await self._answers()

    async def _messages(self) -> int:
        now_ms, limits = self._clock.now_ms(), self._limits
        owed = await self._ports.chat_log.lease_owed(self._name, now_ms, limits.lease_ms, limits.batch)
        await self._record([acts.of_message(item.message) for item in owed])
        by_room: dict[str, list[Message]] = defaultdict(list)
        for item in owed:
            by_room[item.message.room_id].append(item.message)
        done: list[str] = []
        for room_id, messages in by_room.items():
            ids = [message.id for message in messages]
            error = await self._error_of(self._room(room_id, messages), room_id)
            if error is None:
                done += ids
            else:
                await self._ports.chat_log.fail_owed(ids, error)
        if done:
            await self._ports.chat_log.settle_owed(done)
            self._counts["messages"] += len(done)
        return len(done)

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
        for start in range(0, len(events), _RECORDED_AT_ONCE):
            self._counts["acts"] += await self._ports.analytics.record(events[start : start + _RECORDED_AT_ONCE])

    async def _error_of(self, work: Awaitable[None], what: str) -> str | None:
        """What went wrong when trying again at once would not help, in words without personal data.

        Raises FlowError when a part is away.
        """
        try:
            await work
        except Exception as error:
            if isinstance(error, FlowError) and error.kind.retryable:
                raise
            self._counts["failed"] += 1
            _log.exception("what %s owes was not worked out", what)
            return error.kind.code if isinstance(error, FlowError) else type(error).__name__
        return None

    async def _room(self, room_id: str, messages: list[Message]) -> None:
        said: list[tuple[Message, Text]] = []
        async for away in self._away_members(room_id):
            if not away:
                continue
            said = said or await self._said(room_id, messages)
            await asyncio.gather(
                *(
                    self._tell(user_id, message.id, text, "chat")
                    for message, text in said
                    for user_id in away
                    if user_id != message.user_id
                )
            )

    async def _said(self, room_id: str, messages: list[Message]) -> list[tuple[Message, Text]]:
        """What those who are away are told; names are read only when somebody is."""
        place_name = await self._place_name(room_id)
        senders = {user.id: user.name for user in await self._ports.users.by_ids([m.user_id for m in messages])}
        return [(m, texts.chat_message(m, senders.get(m.user_id, "Someone"), place_name)) for m in messages]

    async def _away_members(self, room_id: str) -> AsyncIterator[list[str]]:
        room = parse_room(room_id)
        if room.people is not None:
            yield await self._away(list(room.people))
            return
        after: str | None = None
        while True:
            page = await self._ports.memberships.members(room_id, after, self._limits.member_page)
            if page:
                yield await self._away(page)
            if len(page) < self._limits.member_page:
                return
            after = page[-1]

    async def _away(self, user_ids: list[str]) -> list[str]:
        online = await self._sessions.online(user_ids)
        return [user_id for user_id in user_ids if user_id not in online]

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
            await self._tell(rsvp.user_id, cause, texts.promoted(rsvp, event.title), "events")
        if rsvp.user_id != event.organizer_id:
            person = await self._ports.users.by_id(rsvp.user_id)
            text = texts.rsvp_for_organizer(rsvp, person.name if person else "Someone", event.title)
            await self._tell(event.organizer_id, cause, text, "events")

    async def _tell(self, user_id: str, cause: str, text: Text, preference: str) -> None:
        async with self._gate:
            recipient = Recipient(user_id, notification_id(cause, user_id))
            try:
                told = await self._sessions.notify(user_id, recipient.notify(text))
            except FlowError as error:
                if error.kind in (USER_NOT_FOUND, EVENT_NOT_FOUND):
                    return
                raise
            self._counts["notifications"] += 1
            if told.live:
                return
            person = await self._ports.users.by_id(user_id)
            if person is None or not person.notification_preferences.get(preference, True):
                return
            devices = await self._ports.devices.of_users([user_id])
            rows = rows_for(recipient, text, devices, told.unread, self._clock.now_ms())
            if rows and await self._ports.outbox.add(rows):
                self._counts["push_rows"] += len(rows)
                self.on_rows()
