"""The `messages` collection: one document a chat message, the marks of those that still owe pushes, and seals.

Used by the chat log alone. `insert` promises order: what it stored is a prefix of what it was given, durable, and the
first message that was refused is classified by what stands in its way. Nobody reads a seal as a message.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from cluster.kernel.errors import UNAVAILABLE, FlowError
from storage.bounds import check_batch, page_limit
from storage.client import BatchRefused, Database, ReplaceOne
from storage.leases import fail_owed, lease_owed, put_off_owed
from storage.records import AppendResult, Debt, Message, OwedMessage
from storage.seals import IS_MESSAGE, Seal, Tail, place, place_many

_FIELDS = {"owed": 0}
_IDENTITY = ("_id", "room_id", "seq", "epoch", "user_id", "client_message_id")


class Messages:
    def __init__(self, database: Database) -> None:
        self._messages = database.collection("messages", direct=True)
        self._rooms = database.collection("rooms", direct=True)

    async def tail(self, room_id: str, window: int) -> Tail:
        """The newest `window` messages, the seal, and what the room's document says, in one command."""
        rows = await self._messages.aggregate(
            [
                {"$match": {"room_id": room_id}},
                {"$sort": {"seq": -1}},
                {"$limit": window + 1},
                {"$project": _FIELDS},
                {
                    "$unionWith": {
                        "coll": "rooms",
                        "pipeline": [{"$match": {"_id": room_id}}, {"$project": {"epoch": 1}}],
                    }
                },
            ],
            limit=window + 2,
        )
        room_epoch = None
        if rows and "seq" not in rows[-1]:
            room_epoch = rows.pop().get("epoch", 0)
        return _tail(room_id, rows, window, room_epoch)

    async def tails(self, room_ids: Sequence[str], window: int) -> dict[str, Tail]:
        """As `tail`, of those of these rooms that have a document, in one command: a third of what one for each
        costs."""
        newest = [{"$sort": {"seq": -1}}, {"$limit": window + 1}, {"$project": _FIELDS}]
        lookup = {
            "from": "messages",
            "localField": "_id",
            "foreignField": "room_id",
            "pipeline": newest,
            "as": "newest",
        }
        rows = await self._rooms.aggregate(
            [{"$match": {"_id": {"$in": list(room_ids)}}}, {"$project": {"epoch": 1}}, {"$lookup": lookup}],
            limit=len(room_ids),
        )
        own = {room_id: room_id for room_id in room_ids}
        found = [(own[row["_id"]], row) for row in rows]
        return {room_id: _tail(room_id, row["newest"], window, row.get("epoch", 0)) for room_id, row in found}

    async def seal(self, room_id: str, tail: Tail, epoch: int, ahead: int) -> str | None:
        """As `place` of storage/seals.py."""
        return await place(self._messages, room_id, tail, epoch, ahead)

    async def seal_many(self, tails: Mapping[str, Tail]) -> dict[str, str]:
        """As `place_many` of storage/seals.py."""
        return await place_many(self._messages, tails)

    async def insert(self, messages: Sequence[Message], debts: Sequence[Debt | None]) -> AppendResult:
        """Store in order, each with what it owes; a message already stored as itself counts as stored."""
        check_batch(messages)
        stored = 0
        while stored < len(messages):
            try:
                await self._write(messages[stored:], debts[stored:])
                break
            except BatchRefused as refused:
                stored += refused.index
            known = await self._stored_prefix(messages[stored:])
            if not known:
                return AppendResult(stored, await self._refusal(messages[stored]))
            stored += known
        return AppendResult(len(messages))

    async def _write(self, messages: Sequence[Message], debts: Sequence[Debt | None]) -> None:
        """One command. It stops at the first message that cannot stand in its place, or whose seal is not its own."""
        documents = [_document(message, debt) for message, debt in zip(messages, debts, strict=True)]
        if not any(message.first for message in messages):
            await self._messages.insert_many(documents)
            return
        # An update that finds no seal of its own inserts, meets whatever has the id, and so ends the batch; one that
        # finds nothing and does nothing would let the next message through.
        await self._messages.bulk_write(
            [
                ReplaceOne({"_id": message.id, "epoch": message.epoch, "sealed": True}, document, upsert=True)
                for message, document in zip(messages, documents, strict=True)
            ]
        )

    async def _stored_prefix(self, messages: Sequence[Message]) -> int:
        """How many of these, from the first on, are stored as themselves. The id alone does not say so: an owner and
        the one that took over its seal have the same one for their first message."""
        rows = await self._messages.find(
            {"_id": {"$in": [message.id for message in messages]}, **IS_MESSAGE},
            projection={"room_id": 1, "seq": 1, "epoch": 1, "user_id": 1, "client_message_id": 1},
            limit=len(messages),
        )
        stored = {tuple(row[name] for name in _IDENTITY) for row in rows}
        for index, message in enumerate(messages):
            identity = (message.id, message.room_id, message.seq, message.epoch)
            if (*identity, message.user_id, message.client_message_id) not in stored:
                return index
        return len(messages)

    async def _refusal(self, message: Message) -> str:
        """A taken seq comes first: an owner whose picture of the room is old must reload before anything else."""
        position = {"room_id": message.room_id, "seq": message.seq}
        there = await self._messages.find_one(position, {"epoch": 1, "sealed": 1})
        if there is not None:
            # A seal that is not this owner's own is a claim on its way. One that was put up ahead of the end may have
            # counted the epochs before this owner was there, and have the same; the claim itself goes on to a higher.
            is_own_seal = message.first and there["_id"] == message.id
            if there["epoch"] > message.epoch or (there.get("sealed") and not is_own_seal):
                return "fenced"
            if not there.get("sealed"):
                return "position"
        client_key = {
            "room_id": message.room_id,
            "user_id": message.user_id,
            "client_message_id": message.client_message_id,
        }
        same = {"$or": [client_key, {"_id": message.id, **IS_MESSAGE}]}
        if await self._messages.find_one(same, {"_id": 1}) is not None:
            return "duplicate"
        # The other write is on one server but not yet on a majority, so it may still be undone.
        raise FlowError(UNAVAILABLE, "A message with the same key is being written.")

    async def by_client_message_id(self, room_id: str, user_id: str, client_message_id: str) -> Message | None:
        row = await self._messages.find_one(
            {"room_id": room_id, "user_id": user_id, "client_message_id": client_message_id}, _FIELDS
        )
        return None if row is None else _message(row)

    async def after(self, room_id: str, seq: int, limit: int) -> list[Message]:
        rows = await self._messages.find(
            {"room_id": room_id, "seq": {"$gt": seq}, **IS_MESSAGE},
            projection=_FIELDS,
            sort=[("seq", 1)],
            limit=page_limit(limit),
        )
        return [_message(row) for row in rows]

    async def before(self, room_id: str, seq: int | None, limit: int) -> list[Message]:
        older: dict[str, Any] = {"room_id": room_id, **IS_MESSAGE}
        if seq is not None:
            older["seq"] = {"$lt": seq}
        rows = await self._messages.find(older, projection=_FIELDS, sort=[("seq", -1)], limit=page_limit(limit))
        return [_message(row) for row in reversed(rows)]

    async def owed_of(self, journal: str, after: int, until: int | None, limit: int) -> list[OwedMessage]:
        number = {"$gt": after} if until is None else {"$gt": after, "$lte": until}
        rows = await self._messages.find(
            {"owed.journal": journal, "owed.number": number}, sort=[("owed.number", 1)], limit=page_limit(limit)
        )
        return [OwedMessage(_message(row), row["owed"]["number"]) for row in rows]

    async def lease_owed(self, worker: str, now_ms: int, lease_ms: int, limit: int) -> list[OwedMessage]:
        rows = await lease_owed(self._messages, worker, now_ms, lease_ms, limit)
        return [OwedMessage(_message(row)) for row in rows]

    async def settle_owed(self, message_ids: Sequence[str]) -> None:
        check_batch(message_ids)
        if message_ids:
            await self._messages.update_many({"_id": {"$in": list(message_ids)}}, {"$unset": {"owed": ""}})

    async def put_off_owed(self, message_ids: Sequence[str], until_ms: int) -> None:
        await put_off_owed(self._messages, message_ids, until_ms)

    async def fail_owed(self, message_ids: Sequence[str], error: str) -> None:
        await fail_owed(self._messages, message_ids, error)


def _document(message: Message, debt: Debt | None) -> dict[str, Any]:
    document = msgspec.structs.asdict(message)
    document["_id"] = document.pop("id")
    if not message.first:
        del document["first"]
    if debt is not None:
        document["owed"] = {"journal": debt.journal, "number": debt.number}
    return document


def _tail(room_id: str, rows: list[dict[str, Any]], window: int, room_epoch: int | None) -> Tail:
    """Of the newest documents of a room, the newest first. An id that its messages share is one string: their owner
    keeps them in memory."""
    seal = None
    if rows and rows[0].get("sealed"):
        row = rows.pop(0)
        seal = Seal(row["_id"], row["seq"], row["epoch"])
    people: dict[str, str] = {}
    for row in rows:
        row["room_id"], row["user_id"] = room_id, people.setdefault(row["user_id"], row["user_id"])
    return Tail(tuple(_message(row) for row in reversed(rows[:window])), seal, room_epoch)


def _message(row: dict[str, Any]) -> Message:
    return Message(
        id=row["_id"],
        room_id=row["room_id"],
        seq=row["seq"],
        epoch=row["epoch"],
        user_id=row["user_id"],
        text=row["text"],
        at_ms=row["at_ms"],
        client_message_id=row["client_message_id"],
        first=row.get("first", False),
    )
