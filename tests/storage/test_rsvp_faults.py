"""Answers to events while MongoDB is killed: nothing oversold, nothing acknowledged lost, repeats harmless."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from cluster.kernel.clock import SystemClock
from cluster.kernel.errors import UNAVAILABLE, FlowError
from storage.client import Collection, Database, Transaction
from storage.dates import to_date
from storage.events import MongoEvents
from storage.indexes import ensure_indexes
from storage.records import AppendResult, Rsvp
from storage.rsvps import MongoRsvpLedger
from storage.settings import StorageSettings
from tests.storage.contract_rsvp_ledger import EVENT, rsvp
from tests.support.servers import MongoServer

pytestmark = pytest.mark.storage


async def _append_until_it_answers(ledger: MongoRsvpLedger, batch: list[Rsvp]) -> AppendResult:
    while True:
        try:
            return await ledger.append(batch, [True] * len(batch))
        except FlowError as error:
            if error.kind is not UNAVAILABLE:
                raise


async def test_seats_that_change_hands_survive_a_kill(own_mongo_server: MongoServer) -> None:
    settings = StorageSettings(uri=own_mongo_server.uri, operation_timeout_ms=1_500)
    database = Database(settings)
    await ensure_indexes(database, build_ms=20_000, only=frozenset({"rsvps"}))
    times = {"start": to_date(0), "end": to_date(1)}
    await MongoEvents(database, SystemClock()).create({"_id": EVENT, "title": "T", "datetime": times})
    ledger = MongoRsvpLedger(database)
    head = await ledger.claim(EVENT)
    halfway = asyncio.Event()

    async def pass_the_seats_on() -> None:
        """Ten seats; in each round every holder leaves and the next person sits down, in one batch."""
        for turn in range(120):
            batch = []
            for seat in range(1, 11):
                if turn:
                    batch.append(rsvp(f"p{turn - 1}-{seat}", "declined", epoch=head.epoch, at=turn))
                batch.append(rsvp(f"p{turn}-{seat}", epoch=head.epoch, at=turn, seat=seat))
            assert await _append_until_it_answers(ledger, batch) == AppendResult(len(batch))
            if turn == 30:
                halfway.set()

    writer = asyncio.create_task(pass_the_seats_on())
    await halfway.wait()
    await asyncio.to_thread(own_mongo_server.kill)
    await asyncio.to_thread(own_mongo_server.restart)
    await writer
    assert sorted(await ledger.going(EVENT, None, 100)) == sorted(f"p119-{seat}" for seat in range(1, 11))
    after = await ledger.claim(EVENT)
    assert (after.epoch, after.attending, after.taken) == (head.epoch + 1, 10, tuple(range(1, 11)))
    await database.close()


class _StoppedBeforeItWrites(Collection):
    """The process stands still, or is gone, between two commands of its batch."""

    def __init__(self, stopped: Collection, reached: asyncio.Event) -> None:
        super().__init__(stopped._collection, stopped.name, stopped._gate)
        self._reached = reached

    async def bulk_write(
        self, operations: Sequence[Any], *, ordered: bool = True, within: Transaction | None = None
    ) -> tuple[int, int, int]:
        self._reached.set()
        await asyncio.Event().wait()
        raise AssertionError


async def test_an_owner_that_stopped_in_the_middle_of_a_batch_does_not_hold_up_the_next(
    own_mongo_server: MongoServer,
) -> None:
    settings = StorageSettings(uri=own_mongo_server.uri, operation_timeout_ms=3_000)
    database, another = Database(settings), Database(settings)
    await ensure_indexes(database, build_ms=20_000, only=frozenset({"rsvps"}))
    times = {"start": to_date(0), "end": to_date(1)}
    await MongoEvents(database, SystemClock()).create({"_id": EVENT, "title": "T", "datetime": times})
    stopped, reached = MongoRsvpLedger(database), asyncio.Event()
    stopped._rsvps = _StoppedBeforeItWrites(stopped._rsvps, reached)
    first = await stopped.claim(EVENT)
    stuck = asyncio.create_task(stopped.append([rsvp("anna", epoch=first.epoch)], [True]))
    await reached.wait()
    successor = MongoRsvpLedger(another)
    head = await successor.claim(EVENT)
    assert head.epoch == first.epoch + 1
    assert await successor.append([rsvp("ben", epoch=head.epoch)], [True]) == AppendResult(1)
    assert await successor.going(EVENT, None, 10) == ["ben"]
    stuck.cancel()
    await asyncio.gather(stuck, return_exceptions=True)
    for one in (database, another):
        await one.close()
