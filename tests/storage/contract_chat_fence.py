"""Owners of one room that take it from each other, write, and write again what they are unsure of; and what must hold.

A test module subclasses `ChatFenceContract` and gives the fixture `log`. The promise, in full: what any owner is ever
told is stored was read by everybody who claimed the room after it, the log has no gap, and nobody's message stands
behind a newer owner's.
"""

import asyncio
import random
from collections.abc import Callable
from itertools import pairwise

import pytest

from cluster.kernel.errors import UNAVAILABLE, FlowError
from storage.ports import ChatLog
from storage.records import AppendResult, Message, RoomHead
from tests.storage.contract_chat_log import ROOM, append, claim, following, message


class Told:
    """What the owners were told: every head of theirs, and every message that they may acknowledge."""

    def __init__(self) -> None:
        self.heads: list[RoomHead] = []
        self.acked: list[Message] = []

    async def check(self, log: ChatLog) -> None:
        stored = await log.after(ROOM, 0, 500)
        assert [one.seq for one in stored] == list(range(1, len(stored) + 1))
        assert all(before.epoch <= after.epoch for before, after in pairwise(stored))
        assert [one for one in self.acked if one not in stored] == []
        assert len({one.epoch for one in self.heads}) == len(self.heads)
        for head in self.heads:
            assert list(head.window) == stored[: head.seq]
            assert [one for one in self.acked if one.epoch < head.epoch and one.seq > head.seq] == []


async def claim_either_way(log: ChatLog, together: bool) -> RoomHead:
    """Among many where that can be had, else alone: as a host does."""
    heads = await log.claim_many([ROOM], 500) if together else {}
    return heads.get(ROOM) or await claim(log)


class Owner:
    """One at a time of its own calls; several of these at once. `is_lost` says whether an answer is lost on its way.
    Every other claim is one among many."""

    def __init__(self, log: ChatLog, told: Told, is_lost: Callable[[], bool] = lambda: False) -> None:
        self._log = log
        self._is_lost = is_lost
        self._told = told
        self._head: RoomHead | None = None
        self._seq = 0
        self._unsure: list[Message] = []
        self._claims = 0

    async def claim(self) -> None:
        """What it was unsure of it forgets: the head says what became of it."""
        try:
            self._claims += 1
            self._head = await claim_either_way(self._log, together=self._claims % 2 == 0)
        except FlowError as error:
            if error.kind is not UNAVAILABLE:
                raise
            self._head = None
            return
        self._told.heads.append(self._head)
        self._seq, self._unsure = self._head.seq, []

    async def append(self, count: int) -> None:
        if self._head is None:
            await self.claim()
        if self._head is None:
            return
        batch = self._unsure or self._next(self._head, count)
        try:
            result = await append(self._log, *batch)
        except FlowError as error:
            if error.kind is not UNAVAILABLE:
                raise
            self._unsure = batch
            return
        if self._is_lost():
            self._unsure = batch
            return
        self._told.acked += batch[: result.stored]
        self._seq += len(batch)
        self._unsure = []
        if result.refusal is not None:
            assert result == AppendResult(result.stored, "fenced"), batch
            self._head = None

    def _next(self, head: RoomHead, count: int) -> list[Message]:
        if self._seq == head.seq:
            return following(head, count)
        return [message(self._seq + place, epoch=head.epoch) for place in range(1, count + 1)]


class ChatFenceContract:
    @pytest.mark.parametrize("seed", range(4))
    async def test_three_owners_at_once_are_told_nothing_that_a_later_one_has_not_read(
        self, log: ChatLog, seed: int
    ) -> None:
        choice = random.Random(seed)
        told = Told()

        async def live(owner: Owner) -> None:
            for _ in range(15):
                if choice.random() < 0.25:
                    await owner.claim()
                else:
                    await owner.append(choice.randrange(1, 6))

        owners = [Owner(log, told, lambda: choice.random() < 0.2) for _ in range(3)]
        await asyncio.gather(*map(live, owners))
        await told.check(log)
        assert told.acked
