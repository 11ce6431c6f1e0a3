"""Seals: what a claim of a chat room leaves at the end of the room's log, and how one is put there.

A seal is a document of `messages` with nothing in it but its place and its owner's epoch. It stands where the next
message would stand, so an owner of the past that appends meets it as it would meet a message; its own owner's first
message takes its place and its id. A later claim takes it over by compare-and-set on the epoch. It has no person and no
client message id, so the unique index over those two allows a room one seal.

Used by the chat log alone. `place` and `place_many` never wait and never decide whether to try again.
"""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from cluster.kernel.ids import new_id
from storage.client import BatchRefused, Collection, Duplicate, ReplaceOne
from storage.records import Message

IS_MESSAGE: Final[dict[str, Any]] = {"sealed": None}
"""Added to a query of `messages`, it leaves the seals out."""

_MOST_AHEAD: Final = 1_024
"""More than an owner writes while another looks for the end: two batches."""


class Seal(msgspec.Struct, frozen=True):
    id: str
    seq: int
    epoch: int


class Tail(msgspec.Struct, frozen=True):
    """The end of a room's log as a majority has it: the newest messages in order, and the seal behind them.
    `room_epoch` is what an earlier build left in the room's document, else 0; None when there is no document."""

    messages: tuple[Message, ...]
    seal: Seal | None
    room_epoch: int | None

    @property
    def seq(self) -> int:
        return self.messages[-1].seq if self.messages else 0

    @property
    def epoch(self) -> int:
        """The highest that anybody has claimed, 0 when nobody has."""
        newest = self.messages[-1].epoch if self.messages else 0
        return max(newest, self.seal.epoch if self.seal else 0, self.room_epoch or 0)


def ahead_of(attempt: int) -> int:
    """How far past the end the seal goes at that attempt. A busy owner of the past may write faster than its end is
    read and sealed; a seal ahead of it is a wall that it cannot pass, and is moved to the end afterwards."""
    return 0 if attempt == 0 else min(4**attempt, _MOST_AHEAD)


async def place(messages: Collection, room_id: str, tail: Tail, epoch: int, ahead: int) -> str | None:
    """The id of the seal of `epoch`, which stands durably right behind `tail`: nothing was appended since `tail` was
    read, and no older owner appends any more. None when that is not so (yet): read the tail again."""
    end = tail.seq + 1
    try:
        if tail.seal is None:
            seal_id = new_id()
            place_of = {"_id": seal_id, "room_id": room_id, "seq": end + ahead, "epoch": epoch, "sealed": True}
            await messages.insert_one(place_of)
            return None if ahead else seal_id
        mine = {"_id": tail.seal.id, "epoch": tail.seal.epoch, "sealed": True}
        return tail.seal.id if await messages.update_one(mine, {"$set": {"epoch": epoch, "seq": end}}) else None
    except Duplicate:
        return None


async def place_many(messages: Collection, tails: Mapping[str, Tail]) -> dict[str, str]:
    """As `place` with nothing ahead, for each of these rooms by its id, each with the epoch after its tail's, in two
    commands at most. Whoever is not in the answer has perhaps been written to or claimed meanwhile: its tail is to be
    read again, and shows whatever was put up here."""
    fresh = {room_id: tail for room_id, tail in tails.items() if tail.seal is None}
    sealed = {room_id: tail.seal for room_id, tail in tails.items() if tail.seal is not None}
    return {**await _put_up(messages, fresh), **await _take_over(messages, sealed, tails)}


async def _put_up(messages: Collection, tails: Mapping[str, Tail]) -> dict[str, str]:
    seals = {room_id: new_id() for room_id in tails}
    if not seals:
        return {}
    documents = [_seal(seals[room_id], room_id, tail) for room_id, tail in tails.items()]
    try:
        await messages.insert_many(documents, ordered=False)
    except BatchRefused:
        rows = await messages.find({"_id": {"$in": list(seals.values())}}, projection={"_id": 1}, limit=len(seals))
        there = {row["_id"] for row in rows}
        return {room_id: seal_id for room_id, seal_id in seals.items() if seal_id in there}
    return seals


async def _take_over(messages: Collection, seals: Mapping[str, Seal], tails: Mapping[str, Tail]) -> dict[str, str]:
    """All of them or, when one was not as it was read, none: a reply does not say which."""
    if not seals:
        return {}
    moves = [
        ReplaceOne(
            {"_id": seal.id, "epoch": seal.epoch, "sealed": True}, _seal(seal.id, room_id, tails[room_id]), upsert=False
        )
        for room_id, seal in seals.items()
    ]
    try:
        _, matched, _ = await messages.bulk_write(moves, ordered=False)
    except BatchRefused:
        return {}
    return {room_id: seal.id for room_id, seal in seals.items()} if matched == len(seals) else {}


def _seal(seal_id: str, room_id: str, tail: Tail) -> dict[str, Any]:
    """Right behind the tail, with the epoch after its own."""
    return {"_id": seal_id, "room_id": room_id, "seq": tail.seq + 1, "epoch": tail.epoch + 1, "sealed": True}
