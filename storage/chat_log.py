"""ChatLog on MongoDB: rooms and their messages behind the port that hosts use.

The fence is unique (room, seq). A claim puts a seal (storage/seals.py) where the next message would stand before it
answers, so an owner that was replaced meets the seal, or what has taken its place, and an insert that succeeds needs no
second look.
"""

import asyncio
import random
from collections.abc import Sequence
from typing import Final

from cluster.kernel.clock import Clock
from cluster.kernel.errors import ROOM_NOT_FOUND, UNAVAILABLE, FlowError
from storage.bounds import check_batch, page_limit
from storage.client import Database
from storage.messages import Messages
from storage.records import AppendResult, Debt, Message, OwedMessage, RoomHead, RoomRecord
from storage.rooms import Rooms
from storage.seals import Tail, ahead_of

_CLAIM_TRIES: Final = 20
_PAUSE_S: Final = 0.002


class MongoChatLog:
    def __init__(self, database: Database, clock: Clock) -> None:
        self._rooms = Rooms(database)
        self._messages = Messages(database)
        self._clock = clock

    async def create_room(self, record: RoomRecord) -> None:
        """Idempotent by id."""
        await self._rooms.create(record)

    async def claim(self, room_id: str, kind: str, window: int, *, create: bool) -> RoomHead:
        page_limit(window)
        tail = await self._messages.tail(room_id, window)
        if tail.room_epoch is not None:
            return await self._seal(room_id, window, tail)
        if not create:
            raise FlowError(ROOM_NOT_FOUND)
        fresh = RoomRecord(id=room_id, kind=kind, name="", created_by="", created_at_ms=self._clock.now_ms())
        _, head = await asyncio.gather(self._rooms.create(fresh), self._seal(room_id, window, tail))
        return head

    async def claim_many(self, room_ids: Sequence[str], window: int) -> dict[str, RoomHead]:
        check_batch(room_ids)
        page_limit(window)
        if not room_ids:
            return {}
        tails = await self._messages.tails(room_ids, window)
        sealed = await self._messages.seal_many(tails)
        return {room_id: _head(room_id, tails[room_id], seal_id) for room_id, seal_id in sealed.items()}

    async def _seal(self, room_id: str, window: int, tail: Tail) -> RoomHead:
        for attempt in range(_CLAIM_TRIES):
            if attempt:
                await asyncio.sleep(random.uniform(0, _PAUSE_S * attempt))  # noqa: S311 - jitter, not a secret
                tail = await self._messages.tail(room_id, window)
            sealed_id = await self._messages.seal(room_id, tail, tail.epoch + 1, ahead_of(attempt))
            if sealed_id is not None:
                return _head(room_id, tail, sealed_id)
        raise FlowError(UNAVAILABLE, "Others claim this room at the same time. Try again.")

    async def append(self, messages: Sequence[Message], debts: Sequence[Debt | None]) -> AppendResult:
        return await self._messages.insert(messages, debts)

    async def by_client_message_id(self, room_id: str, user_id: str, client_message_id: str) -> Message | None:
        return await self._messages.by_client_message_id(room_id, user_id, client_message_id)

    async def after(self, room_id: str, seq: int, limit: int) -> list[Message]:
        return await self._messages.after(room_id, seq, limit)

    async def before(self, room_id: str, seq: int | None, limit: int) -> list[Message]:
        return await self._messages.before(room_id, seq, limit)

    async def room(self, room_id: str) -> RoomRecord | None:
        return await self._rooms.by_id(room_id)

    async def owed_of(self, journal: str, after: int, until: int | None, limit: int) -> list[OwedMessage]:
        return await self._messages.owed_of(journal, after, until, limit)

    async def lease_owed(self, worker: str, now_ms: int, lease_ms: int, limit: int) -> list[OwedMessage]:
        return await self._messages.lease_owed(worker, now_ms, lease_ms, limit)

    async def settle_owed(self, message_ids: Sequence[str]) -> None:
        await self._messages.settle_owed(message_ids)

    async def put_off_owed(self, message_ids: Sequence[str], until_ms: int) -> None:
        await self._messages.put_off_owed(message_ids, until_ms)

    async def fail_owed(self, message_ids: Sequence[str], error: str) -> None:
        await self._messages.fail_owed(message_ids, error)


def _head(room_id: str, tail: Tail, sealed_id: str) -> RoomHead:
    return RoomHead(room_id=room_id, epoch=tail.epoch + 1, seq=tail.seq, window=tail.messages, sealed_id=sealed_id)
