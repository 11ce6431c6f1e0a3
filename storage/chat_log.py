"""ChatLog on MongoDB: rooms and their messages behind the port that hosts use.

The fence has two parts. Unique (room, seq) keeps two owners from writing the same place. And after a batch is durable
its rooms' epochs are read again: when none is newer, any later owner claims after these messages and so reads them;
when one is newer the batch is answered "fenced", so that an owner who was replaced acknowledges nothing more.
"""

from collections.abc import Sequence

from cluster.kernel.clock import Clock
from storage.bounds import page_limit
from storage.client import Database
from storage.messages import Messages
from storage.records import AppendResult, Message, OwedMessage, RoomHead, RoomRecord
from storage.rooms import Rooms


class MongoChatLog:
    def __init__(self, database: Database, clock: Clock) -> None:
        self._rooms = Rooms(database, clock)
        self._messages = Messages(database)

    async def create_room(self, record: RoomRecord) -> None:
        """Idempotent by id."""
        await self._rooms.create(record)

    async def claim(self, room_id: str, kind: str, window: int, *, create: bool) -> RoomHead:
        page_limit(window)
        epoch = await self._rooms.claim(room_id, kind, create=create)
        newest = await self._messages.before(room_id, None, window)
        return RoomHead(room_id=room_id, epoch=epoch, seq=newest[-1].seq if newest else 0, window=tuple(newest))

    async def append(self, messages: Sequence[Message], owed: Sequence[bool]) -> AppendResult:
        result = await self._messages.insert(messages, owed)
        if result.stored == 0:
            return result
        stored = messages[: result.stored]
        epochs = await self._rooms.epochs(list({message.room_id for message in stored}))
        for index, message in enumerate(stored):
            if epochs.get(message.room_id, 0) > message.epoch:
                return AppendResult(index, "fenced")
        return result

    async def by_client_message_id(self, room_id: str, user_id: str, client_message_id: str) -> Message | None:
        return await self._messages.by_client_message_id(room_id, user_id, client_message_id)

    async def after(self, room_id: str, seq: int, limit: int) -> list[Message]:
        return await self._messages.after(room_id, seq, limit)

    async def before(self, room_id: str, seq: int | None, limit: int) -> list[Message]:
        return await self._messages.before(room_id, seq, limit)

    async def room(self, room_id: str) -> RoomRecord | None:
        return await self._rooms.by_id(room_id)

    async def lease_owed(self, worker: str, now_ms: int, lease_ms: int, limit: int) -> list[OwedMessage]:
        return await self._messages.lease_owed(worker, now_ms, lease_ms, limit)

    async def settle_owed(self, message_ids: Sequence[str]) -> None:
        await self._messages.settle_owed(message_ids)

    async def fail_owed(self, message_ids: Sequence[str], error: str) -> None:
        await self._messages.fail_owed(message_ids, error)
