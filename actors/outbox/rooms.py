"""Tells the people of rooms who are away what was said there. Used by the relay; it settles nothing.

What goes wrong in one room and would go wrong again harms no other: it is reported by room. Idempotent, since every
notification's id follows from its message and its person.
"""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Awaitable, Sequence
from typing import Final, Protocol

from actors.outbox import texts
from actors.outbox.audience import Audience
from actors.outbox.port import EventTitles, Sessions
from actors.outbox.teller import Teller, TellerPorts
from actors.outbox.texts import Text
from cluster.kernel.errors import FlowError
from cluster.kernel.ids import Room, RoomKind, parse_room
from storage.bounds import batches
from storage.ports import ChatLog, Memberships
from storage.records import Message

_MESSAGES_TOLD_AT_ONCE: Final = 32
"""To each of a page of people: what waits to be told is bounded by this, how many are told at once by the teller."""

_log = logging.getLogger("flow.actors")


class RoomPorts(TellerPorts, Protocol):
    @property
    def chat_log(self) -> ChatLog: ...
    @property
    def memberships(self) -> Memberships: ...


class Mistakes:
    """Work that failed in a way that trying again at once would not mend."""

    def __init__(self) -> None:
        self.count = 0

    async def of(self, work: Awaitable[None], what: str) -> str | None:
        """What went wrong, in words without personal data. Raises FlowError when a part is away."""
        try:
            await work
        except Exception as error:
            if isinstance(error, FlowError) and error.kind.retryable:
                raise
            return self.note(error, what)
        return None

    def note(self, error: Exception, what: str) -> str:
        self.count += 1
        _log.error("what %s owes was not worked out", what, exc_info=error)
        return error.kind.code if isinstance(error, FlowError) else type(error).__name__


class RoomTeller:
    """`page` is how many people are asked about at once."""

    def __init__(
        self,
        ports: RoomPorts,
        sessions: Sessions,
        event_titles: EventTitles,
        teller: Teller,
        mistakes: Mistakes,
        page: int,
    ) -> None:
        self._ports = ports
        self._event_titles = event_titles
        self._audience = Audience(ports.memberships, sessions, page)
        self._teller = teller
        self._mistakes = mistakes

    async def tell(self, messages: Sequence[Message]) -> dict[str, str]:
        """By message's id, what went wrong with it. Raises FlowError when a part is away."""
        by_room: dict[str, list[Message]] = defaultdict(list)
        for message in messages:
            by_room[message.room_id].append(message)
        failed = await self._tell_rooms(by_room)
        return {message.id: error for room_id, error in failed.items() for message in by_room[room_id]}

    async def _tell_rooms(self, by_room: dict[str, list[Message]]) -> dict[str, str]:
        failed: dict[str, str] = {}
        rooms: list[Room] = []
        for room_id in by_room:
            try:
                rooms.append(parse_room(room_id))
            except FlowError as error:
                failed[room_id] = self._mistakes.note(error, room_id)
        said: dict[str, list[tuple[Message, Text]]] = {}
        async for away in self._audience.away(rooms):
            for room_id, people in away.items():
                work = self._tell_room(room_id, by_room[room_id], people, said)
                if room_id not in failed and (what := await self._mistakes.of(work, room_id)) is not None:
                    failed[room_id] = what
        return failed

    async def _tell_room(
        self, room_id: str, messages: list[Message], away: list[str], said: dict[str, list[tuple[Message, Text]]]
    ) -> None:
        """`said` keeps what each room's people are told, since a large room's come on several pages."""
        if room_id not in said:
            said[room_id] = await self._said(room_id, messages)
        for some in batches(said[room_id], _MESSAGES_TOLD_AT_ONCE):
            await asyncio.gather(
                *(
                    self._teller.tell(user_id, message.id, text, "chat")
                    for message, text in some
                    for user_id in away
                    if user_id != message.user_id
                )
            )

    async def _said(self, room_id: str, messages: list[Message]) -> list[tuple[Message, Text]]:
        """What those who are away are told; names are read only when somebody is."""
        place_name = await self._place_name(room_id)
        senders: dict[str, str] = {}
        for some in batches(list({message.user_id for message in messages})):
            senders |= {user.id: user.name for user in await self._ports.users.by_ids(some)}
        return [(m, texts.chat_message(m, senders.get(m.user_id, "Someone"), place_name)) for m in messages]

    async def _place_name(self, room_id: str) -> str:
        room = parse_room(room_id)
        if room.kind is RoomKind.EVENT and room.event_id is not None:
            event = await self._event_titles.title(room.event_id)
            return event.title if event is not None else ""
        record = await self._ports.chat_log.room(room_id)
        return record.name if record is not None and room.kind is RoomKind.GROUP else ""
