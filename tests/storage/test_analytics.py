"""Analytics on real MongoDB: the contract, that rows expire, and that training learns the same of an answer."""

import pytest

from cluster.kernel.clock import SystemClock
from serve_apps.contracts import ACTION_WEIGHTS
from storage.analytics import ACTION_OF_STATUS, KEPT_MS, MongoAnalytics, ensure_acts
from storage.chat_log import MongoChatLog
from storage.dates import to_date
from storage.events import MongoEvents
from storage.records import Debt, Rsvp
from storage.rsvps import MongoRsvpLedger
from storage.training_data import MongoTrainingData
from tests.conftest import OpenDatabase
from tests.storage.contract_analytics import AnalyticsContract, event
from tests.storage.contract_chat_log import ROOM, claim, following

pytestmark = pytest.mark.storage


class TestMongoAnalytics(AnalyticsContract):
    @pytest.fixture
    async def analytics(self, open_database: OpenDatabase) -> MongoAnalytics:
        return MongoAnalytics(await open_database("analytics_events"))


async def test_what_training_reads_of_an_answer_is_what_analytics_holds(open_database: OpenDatabase) -> None:
    database = await open_database("analytics_events", "rsvps", "events")
    times = {"start": to_date(0), "end": to_date(1)}
    await MongoEvents(database, SystemClock()).create({"_id": "e", "title": "E", "datetime": times})
    for number, status in enumerate(ACTION_OF_STATUS):
        rsvp = Rsvp(event_id="e", user_id=f"u{number}", status=status, epoch=0, at_ms=number)
        assert (await MongoRsvpLedger(database).append([rsvp], [True])).refusal is None
        await MongoAnalytics(database).record([event(f"{number}", action=status)])
    learned = [row.action async for page in MongoTrainingData(database).interactions() for row in page]
    rows = await database.collection("analytics_events").find({}, limit=10, sort=[("_id", 1)])
    assert [row["action"] for row in rows] == learned
    assert set(learned) <= ACTION_WEIGHTS.keys()


async def test_rows_expire(open_database: OpenDatabase) -> None:
    rows = (await open_database("analytics_events")).collection("analytics_events")
    await MongoAnalytics(await open_database()).record([event("a")])
    [row] = await rows.find({}, limit=2)
    assert row["expires_at"] == to_date(event("a").at_ms + KEPT_MS)
    assert any(index.get("expireAfterSeconds") == 0 for index in await rows.indexes())


async def test_the_view_has_messages_and_answers_in_one_form_and_each_act_once(open_database: OpenDatabase) -> None:
    database = await open_database("analytics_events", "messages")
    for _ in range(2):
        await ensure_acts(database)
    log = MongoChatLog(database, SystemClock())
    said = following(await claim(log), 2)
    await log.append(said, [Debt("j", 1), None])
    await claim(log)  # leaves a seal, which is no act
    answered = event("rsvp:e:anna:going:1")
    await MongoAnalytics(database).record([answered])
    old = {"_id": f"message:{said[0].id}", "kind": "message", "user_id": "anna", "subject": ROOM, "action": "message"}
    await database.collection("analytics_events").insert_one(old | {"at_ms": said[0].at_ms})
    acts = await database.collection("acts").find({}, limit=10, sort=[("at_ms", 1)])
    of_messages = [
        {"_id": f"message:{one.id}", "kind": "message", "user_id": "anna", "subject": ROOM, "action": "message"}
        | {"at_ms": one.at_ms}
        for one in said
    ]
    of_answer = {"_id": answered.id, "kind": "rsvp", "user_id": "anna", "subject": "event", "action": "attend"}
    assert acts == [*of_messages, of_answer | {"at_ms": answered.at_ms}]
