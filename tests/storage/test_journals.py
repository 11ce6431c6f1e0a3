"""Journals on real MongoDB: the contract, that marks expire, and that a journal is read by its index."""

import pytest
from pymongo import MongoClient

from storage.dates import to_date
from storage.journals import MongoJournals
from storage.settings import StorageSettings
from tests.conftest import OpenDatabase
from tests.storage.contract_journals import JournalsContract

pytestmark = pytest.mark.storage


class TestMongoJournals(JournalsContract):
    @pytest.fixture
    async def journals(self, open_database: OpenDatabase) -> MongoJournals:
        return MongoJournals(await open_database("journals"))


async def test_a_mark_outlives_its_host_by_a_day(open_database: OpenDatabase) -> None:
    database = await open_database("journals")
    journals, marks = MongoJournals(database), database.collection("journals")
    await journals.renew("j", 0, 1_000, 2_000)
    mark = await journals.lease_lapsed("worker", 2_000, 500)
    assert mark is not None
    await journals.advance(mark, 4, 9_000)
    [row] = await marks.find({}, limit=2)
    assert row["expires_at"] == to_date(1_000 + 24 * 3_600_000)
    assert any(index.get("expireAfterSeconds") == 0 for index in await marks.indexes())


async def test_a_journal_is_read_by_its_index(open_database: OpenDatabase, storage_settings: StorageSettings) -> None:
    await open_database("messages")
    client: MongoClient = MongoClient(storage_settings.uri)
    try:
        query = {"owed.journal": "j", "owed.number": {"$gt": 3, "$lte": 9}}
        found = client[storage_settings.database]["messages"].find(query).sort("owed.number", 1).explain()
    finally:
        client.close()
    plan = found["queryPlanner"]["winningPlan"]
    assert (plan["stage"], plan["inputStage"]["stage"]) == ("FETCH", "IXSCAN")
    assert plan["inputStage"]["indexName"] == "owed.journal_1_owed.number_1"
