"""The `messages` collection: one document a chat message, and the marks of those that still owe pushes.

Used by the chat log alone. `insert` promises order: what it stored is a prefix of what it was given, durable, and the
first message that was refused is classified by the unique index that it met.
"""

from collections.abc import Sequence
from typing import Any

import msgspec

from cluster.kernel.errors import UNAVAILABLE, FlowError
from storage.bounds import check_batch, page_limit
from storage.client import BatchRefused, Database
from storage.leases import OWED, fail_owed, lease_owed
from storage.records import AppendResult, Message, OwedMessage

_FIELDS = {"owed": 0}


class Messages:
    def __init__(self, database: Database) -> None:
        self._messages = database.collection("messages")

    async def insert(self, messages: Sequence[Message], owed: Sequence[bool]) -> AppendResult:
        """Store in order; a message already stored under its own id and seq counts as stored."""
        check_batch(messages)
        documents = [_document(message, owes) for message, owes in zip(messages, owed, strict=True)]
        stored = 0
        while stored < len(documents):
            try:
                await self._messages.insert_many(documents[stored:])
                break
            except BatchRefused as refused:
                stored += refused.index
            known = await self._stored_prefix(messages[stored:])
            if not known:
                return AppendResult(stored, await self._refusal(messages[stored]))
            stored += known
        return AppendResult(len(messages))

    async def _stored_prefix(self, messages: Sequence[Message]) -> int:
        """How many of these, from the first on, are stored as themselves."""
        rows = await self._messages.find(
            {"_id": {"$in": [message.id for message in messages]}},
            projection={"room_id": 1, "seq": 1},
            limit=len(messages),
        )
        places = {row["_id"]: (row["room_id"], row["seq"]) for row in rows}
        for index, message in enumerate(messages):
            if places.get(message.id) != (message.room_id, message.seq):
                return index
        return len(messages)

    async def _refusal(self, message: Message) -> str:
        """A taken seq comes first: an owner whose picture of the room is old must reload before anything else."""
        position = {"room_id": message.room_id, "seq": message.seq}
        if await self._messages.find_one(position, {"_id": 1}) is not None:
            return "position"
        client_key = {
            "room_id": message.room_id,
            "user_id": message.user_id,
            "client_message_id": message.client_message_id,
        }
        if await self._messages.find_one({"$or": [client_key, {"_id": message.id}]}, {"_id": 1}) is not None:
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
            {"room_id": room_id, "seq": {"$gt": seq}},
            projection=_FIELDS,
            sort=[("seq", 1)],
            limit=page_limit(limit),
        )
        return [_message(row) for row in rows]

    async def before(self, room_id: str, seq: int | None, limit: int) -> list[Message]:
        older: dict[str, Any] = {"room_id": room_id}
        if seq is not None:
            older["seq"] = {"$lt": seq}
        rows = await self._messages.find(older, projection=_FIELDS, sort=[("seq", -1)], limit=page_limit(limit))
        return [_message(row) for row in reversed(rows)]

    async def lease_owed(self, worker: str, now_ms: int, lease_ms: int, limit: int) -> list[OwedMessage]:
        rows = await lease_owed(self._messages, worker, now_ms, lease_ms, limit)
        return [OwedMessage(_message(row)) for row in rows]

    async def settle_owed(self, message_ids: Sequence[str]) -> None:
        check_batch(message_ids)
        if message_ids:
            await self._messages.update_many({"_id": {"$in": list(message_ids)}}, {"$unset": {"owed": ""}})

    async def fail_owed(self, message_ids: Sequence[str], error: str) -> None:
        await fail_owed(self._messages, message_ids, error)


def _document(message: Message, owes: bool) -> dict[str, Any]:
    document = msgspec.structs.asdict(message)
    document["_id"] = document.pop("id")
    if owes:
        document["owed"] = OWED
    return document


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
    )
