"""Answers to events while MongoDB is killed: nothing oversold, nothing acknowledged lost, repeats harmless."""

import asyncio

import pytest

from cluster.kernel.clock import SystemClock
from cluster.kernel.errors import UNAVAILABLE, FlowError
from storage.client import Database
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
