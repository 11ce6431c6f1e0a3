"""ChatLog and Memberships in memory, for tests of rules and hosts. Held to the same contract suite as MongoDB's."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from cluster.kernel.errors import ROOM_NOT_FOUND, FlowError
from cluster.kernel.ids import new_id
from storage.bounds import check_batch, page_limit
from storage.leases import MOST_FAILURES
from storage.records import AppendResult, Debt, Message, OwedMessage, RoomHead, RoomRecord
from tests.support.memory_faults import Faults


@dataclass
class _Seal:
    id: str
    seq: int
    epoch: int


@dataclass
class _Room:
    """`seal` stands behind the newest message, until the first message of its epoch takes its place."""

    record: RoomRecord
    seal: _Seal | None = None
    by_seq: dict[int, Message] = field(default_factory=dict)

    @property
    def seq(self) -> int:
        return max(self.by_seq, default=0)

    @property
    def epoch(self) -> int:
        newest = self.by_seq.get(self.seq)
        return max(self.seal.epoch if self.seal else 0, newest.epoch if newest else 0)


class MemoryChatLog:
    """`faults` applies to `append` and `claim`."""

    def __init__(self) -> None:
        self.faults = Faults()
        self._rooms: dict[str, _Room] = {}
        self._by_id: dict[str, Message] = {}
        self._by_client_id: dict[tuple[str, str, str], Message] = {}
        self._debts: dict[str, Debt] = {}
        self._owed: dict[str, int] = {}
        self._failures: Counter[str] = Counter()

    async def create_room(self, record: RoomRecord) -> None:
        self._rooms.setdefault(record.id, _Room(record))

    async def claim(self, room_id: str, kind: str, window: int, *, create: bool) -> RoomHead:
        page_limit(window)
        fault = await self.faults.before()
        if room_id not in self._rooms and not create:
            raise FlowError(ROOM_NOT_FOUND)
        room = self._room(room_id, kind)
        room.seal = _Seal(room.seal.id if room.seal else new_id(), room.seq + 1, room.epoch + 1)
        head = RoomHead(
            room_id=room_id,
            epoch=room.seal.epoch,
            seq=room.seq,
            window=tuple(self._newest(room, None, window)),
            sealed_id=room.seal.id,
        )
        await self.faults.after(fault)
        return head

    async def claim_many(self, room_ids: Sequence[str], window: int) -> dict[str, RoomHead]:
        check_batch(room_ids)
        known = [room_id for room_id in dict.fromkeys(room_ids) if room_id in self._rooms]
        return {room_id: await self.claim(room_id, "", window, create=False) for room_id in known}

    async def append(self, messages: Sequence[Message], debts: Sequence[Debt | None]) -> AppendResult:
        check_batch(messages)
        fault = await self.faults.before()
        result = self._append(messages, debts)
        await self.faults.after(fault)
        return result

    def _append(self, messages: Sequence[Message], debts: Sequence[Debt | None]) -> AppendResult:
        for index, (message, debt) in enumerate(zip(messages, debts, strict=True)):
            refusal = self._append_one(message, debt)
            if refusal is not None:
                return AppendResult(index, refusal)
        return AppendResult(len(messages))

    def _append_one(self, message: Message, debt: Debt | None) -> str | None:
        room = self._room(message.room_id, "group")
        same = self._by_id.get(message.id)
        if same is not None and _identity(same) == _identity(message):
            return None
        seal = room.seal if room.seal is not None and room.seal.seq == message.seq else None
        refusal = _refusal_by_place(message, seal, room.by_seq.get(message.seq))
        if refusal is not None:
            return refusal
        client_key = (message.room_id, message.user_id, message.client_message_id)
        if same is not None or client_key in self._by_client_id:
            return "duplicate"
        if seal is not None:
            room.seal = None
        room.by_seq[message.seq] = message
        self._by_id[message.id] = message
        self._by_client_id[client_key] = message
        if debt is not None:
            self._debts[message.id] = debt
        return None

    async def by_client_message_id(self, room_id: str, user_id: str, client_message_id: str) -> Message | None:
        await asyncio.sleep(0)
        return self._by_client_id.get((room_id, user_id, client_message_id))

    async def after(self, room_id: str, seq: int, limit: int) -> list[Message]:
        page_limit(limit)
        await asyncio.sleep(0)
        room = self._rooms.get(room_id)
        if room is None:
            return []
        return [room.by_seq[at] for at in sorted(room.by_seq) if at > seq][:limit]

    async def before(self, room_id: str, seq: int | None, limit: int) -> list[Message]:
        page_limit(limit)
        await asyncio.sleep(0)
        room = self._rooms.get(room_id)
        return [] if room is None else self._newest(room, seq, limit)

    async def room(self, room_id: str) -> RoomRecord | None:
        await asyncio.sleep(0)
        room = self._rooms.get(room_id)
        return None if room is None else room.record

    async def owed_of(self, journal: str, after: int, until: int | None, limit: int) -> list[OwedMessage]:
        page_limit(limit)
        await asyncio.sleep(0)
        found = sorted(
            (debt.number, message_id)
            for message_id, debt in self._debts.items()
            if debt.journal == journal and after < debt.number <= (debt.number if until is None else until)
        )
        return [OwedMessage(self._by_id[message_id], number) for number, message_id in found[:limit]]

    async def lease_owed(self, worker: str, now_ms: int, lease_ms: int, limit: int) -> list[OwedMessage]:
        page_limit(limit)
        await asyncio.sleep(0)
        free = [message_id for message_id, until in self._owed.items() if until <= now_ms][:limit]
        for message_id in free:
            self._owed[message_id] = now_ms + lease_ms
        return [OwedMessage(self._by_id[message_id]) for message_id in free]

    async def settle_owed(self, message_ids: Sequence[str]) -> None:
        check_batch(message_ids)
        await asyncio.sleep(0)
        for message_id in message_ids:
            self._owed.pop(message_id, None)
            self._debts.pop(message_id, None)

    async def put_off_owed(self, message_ids: Sequence[str], until_ms: int) -> None:
        check_batch(message_ids)
        await asyncio.sleep(0)
        for message_id in message_ids:
            if (self._debts.pop(message_id, None) or self._owed.get(message_id)) is not None:
                self._owed[message_id] = until_ms

    async def fail_owed(self, message_ids: Sequence[str], error: str) -> None:
        check_batch(message_ids)
        await asyncio.sleep(0)
        for message_id in message_ids:
            if message_id not in self._owed:
                continue
            self._failures[message_id] += 1
            if self._failures[message_id] >= MOST_FAILURES:
                self._owed.pop(message_id, None)

    def _room(self, room_id: str, kind: str) -> _Room:
        record = RoomRecord(id=room_id, kind=kind, name="", created_by="", created_at_ms=0)
        return self._rooms.setdefault(room_id, _Room(record))

    @staticmethod
    def _newest(room: _Room, before: int | None, limit: int) -> list[Message]:
        seqs = [seq for seq in sorted(room.by_seq) if before is None or seq < before]
        return [room.by_seq[seq] for seq in seqs[-limit:]]


def _refusal_by_place(message: Message, seal: _Seal | None, there: Message | None) -> str | None:
    """What the seal or the message that stands in its place says to it."""
    if seal is not None:
        is_its_own = message.first and (seal.id, seal.epoch) == (message.id, message.epoch)
        return None if is_its_own else "fenced"
    if there is not None:
        return "fenced" if there.epoch > message.epoch else "position"
    return None


def _identity(message: Message) -> tuple[str, str, int, int, str, str]:
    return (
        message.id,
        message.room_id,
        message.seq,
        message.epoch,
        message.user_id,
        message.client_message_id,
    )


class MemoryMemberships:
    """`read_mark` is for tests to look at."""

    def __init__(self) -> None:
        self._marks: dict[tuple[str, str], int] = {}

    async def is_member(self, room_id: str, user_id: str) -> bool:
        await asyncio.sleep(0)
        return (room_id, user_id) in self._marks

    async def members_among(self, pairs: Sequence[tuple[str, str]]) -> set[tuple[str, str]]:
        check_batch(pairs)
        await asyncio.sleep(0)
        return self._marks.keys() & set(pairs)

    async def add(self, room_id: str, user_ids: Sequence[str], now_ms: int) -> None:
        check_batch(user_ids)
        await asyncio.sleep(0)
        for user_id in user_ids:
            self._marks.setdefault((room_id, user_id), 0)

    async def remove(self, room_id: str, user_id: str) -> None:
        await asyncio.sleep(0)
        self._marks.pop((room_id, user_id), None)

    async def members(
        self, room_ids: Sequence[str], after: tuple[str, str] | None, limit: int
    ) -> list[tuple[str, str]]:
        check_batch(room_ids)
        page_limit(limit)
        await asyncio.sleep(0)
        belong = sorted(pair for pair in self._marks if pair[0] in room_ids)
        return [pair for pair in belong if after is None or pair > after][:limit]

    async def rooms_of(self, user_id: str, after_room_id: str | None, limit: int) -> list[str]:
        page_limit(limit)
        await asyncio.sleep(0)
        rooms = sorted(room for room, user in self._marks if user == user_id)
        return [room for room in rooms if after_room_id is None or room > after_room_id][:limit]

    async def mark_read(self, room_id: str, user_id: str, seq: int) -> None:
        await asyncio.sleep(0)
        key = (room_id, user_id)
        if key in self._marks:
            self._marks[key] = max(self._marks[key], seq)

    async def read_mark(self, room_id: str, user_id: str) -> int | None:
        """None when the person is not a member."""
        await asyncio.sleep(0)
        return self._marks.get((room_id, user_id))
