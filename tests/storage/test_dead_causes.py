"""Messages and answers whose follow-up work was given up, on real MongoDB: found, and owed again when replayed."""

import pytest

from cluster.kernel.clock import SystemClock
from cluster.kernel.errors import INVALID_REQUEST, FlowError
from storage.chat_log import MongoChatLog
from storage.dates import to_date
from storage.dead_causes import DeadCauses, is_cause
from storage.events import MongoEvents
from storage.leases import MOST_FAILURES
from storage.records import DeadCause, Debt
from storage.rsvps import MongoRsvpLedger
from tests.conftest import OpenDatabase
from tests.storage.contract_chat_log import claim, following
from tests.storage.contract_rsvp_ledger import EVENT, rsvp

pytestmark = pytest.mark.storage


async def test_they_are_listed_page_by_page_and_owe_again_when_replayed(open_database: OpenDatabase) -> None:
    database = await open_database("messages", "rsvps")
    log, ledger, causes = MongoChatLog(database, SystemClock()), MongoRsvpLedger(database), DeadCauses(database)
    head = await claim(log)
    times = {"start": to_date(0), "end": to_date(1)}
    await MongoEvents(database, SystemClock()).create({"_id": EVENT, "title": "T", "datetime": times})
    [said], answer = following(head, 1), rsvp("anna", epoch=1, seat=1)
    await log.append([said], [Debt("j", 1)])
    await log.put_off_owed([said.id], 0)
    await ledger.append([answer], [True])
    for failure in range(MOST_FAILURES):
        assert await causes.page(None, 10) == [], f"after {failure}"
        await log.fail_owed([said.id], "not_found")
        await ledger.fail_owed([answer], "ValueError")
    first = DeadCause(id=f"messages/{said.id}", failures=MOST_FAILURES, last_error="not_found")
    second = DeadCause(id=f"rsvps/{EVENT}/anna", failures=MOST_FAILURES, last_error="ValueError")
    assert await causes.page(None, 10) == [first, second]
    assert await causes.page(None, 1) == [first]
    assert await causes.page(first.id, 10) == [second]
    assert await causes.page(second.id, 10) == []
    assert all(is_cause(one.id) for one in (first, second))
    assert await causes.replay([first.id, second.id, "messages/unknown"]) == 2
    assert await causes.replay([first.id]) == 0
    assert [one.message for one in await log.lease_owed("worker", 1_000, 500, 10)] == [said]
    assert [one.rsvp for one in await ledger.lease_owed("worker", 1_000, 500, 10)] == [answer]


async def test_what_is_no_cause_is_refused(open_database: OpenDatabase) -> None:
    causes = DeadCauses(await open_database("messages", "rsvps"))
    for wrong in ("", "messages/", "users/anna", "anna"):
        with pytest.raises(FlowError) as caught:
            await causes.replay([wrong])
        assert caught.value.kind is INVALID_REQUEST
