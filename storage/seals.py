"""Seals: what a claim of a chat room leaves at the end of the room's log, and how one is put there.

A seal is a document of `messages` with nothing in it but its place and its owner's epoch. It stands where the next
message would stand, so an owner of the past that appends meets it as it would meet a message; its own owner's first
message takes its place and its id. A later claim takes it over by compare-and-set on the epoch. It has no person and no
client message id, so the unique index over those two allows a room one seal.

Used by the chat log alone. `place` never waits and never decides whether to try again.
"""

from typing import Any, Final

import msgspec

from cluster.kernel.ids import new_id
from storage.client import Collection, Duplicate
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
