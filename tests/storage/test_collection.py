"""Both ways to the database keep one contract: the driver's threads, and the event loop's own connections."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pymongo
import pytest

from cluster.kernel.errors import START_FAILED, UNAVAILABLE, FlowError
from storage.client import Collection, Database
from storage.settings import StorageSettings
from tests.storage.contract_collection import CollectionContract, numbered
from tests.support.servers import GuardedMongoServer, MongoServer

pytestmark = pytest.mark.storage


@pytest.fixture
async def database(storage_settings: StorageSettings) -> AsyncIterator[Database]:
    opened = Database(storage_settings)
    await opened.ping()
    yield opened
    await opened.close()


class TestThroughTheDriver(CollectionContract):
    @pytest.fixture
    def rows(self, database: Database) -> Collection:
        return database.collection("rows")


class TestDirectly(CollectionContract):
    @pytest.fixture
    async def rows(self, database: Database) -> AsyncIterator[Collection]:
        yield database.collection("rows", direct=True)
        assert database.statistics()["direct_opened"] == 1, "the driver did it"


async def test_nothing_stays_open_on_the_server(database: Database, mongo_server: MongoServer) -> None:
    rows = database.collection("rows", direct=True)
    await rows.insert_many(numbered(*range(100)))

    def open_cursors() -> int:
        with pymongo.MongoClient(mongo_server.uri) as client:
            return int(client.admin.command("serverStatus")["metrics"]["cursor"]["open"]["total"])

    before = await asyncio.to_thread(open_cursors)
    assert len(await rows.aggregate([{"$sort": {"n": 1}}], limit=2)) == 2
    assert len(await rows.find({}, limit=2)) == 2
    assert await asyncio.to_thread(open_cursors) == before


async def test_commands_at_once_get_their_own_answers(database: Database) -> None:
    rows = database.collection("rows", direct=True)
    await asyncio.gather(*(rows.insert_one(row) for row in numbered(*range(100))))
    found = await asyncio.gather(*(rows.find_one({"n": n}) for n in range(100)))
    assert [row["n"] for row in found if row is not None] == list(range(100))
    assert 1 < database.statistics()["direct_opened"] <= 32


async def test_a_command_that_is_given_up_gives_nobody_else_its_answer(database: Database) -> None:
    rows = database.collection("rows", direct=True)
    await rows.insert_many(numbered(*range(200)))
    for n in range(50):
        given_up = asyncio.create_task(rows.find_one({"n": n}))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        given_up.cancel()
        found = await rows.find_one({"n": n + 100})
        assert found is not None
        assert found["n"] == n + 100
        await asyncio.gather(given_up, return_exceptions=True)


async def test_before_the_primary_is_known_the_driver_does_it(storage_settings: StorageSettings) -> None:
    database = Database(storage_settings)
    rows = database.collection("rows", direct=True)
    await rows.insert_many(numbered(1))
    assert await rows.find_one({"n": 1}) is not None
    assert database.statistics()["direct_opened"] == 1, "from the second on"
    await database.close()


async def test_a_server_that_went_away_and_came_back(own_mongo_server: MongoServer) -> None:
    database = Database(StorageSettings(uri=own_mongo_server.uri, operation_timeout_ms=2_000))
    rows = database.collection("rows", direct=True)
    await database.ping()
    await rows.insert_many(numbered(1))
    await asyncio.to_thread(own_mongo_server.kill)
    with pytest.raises(FlowError) as caught:
        await rows.insert_many(numbered(2))
    assert caught.value.kind is UNAVAILABLE
    await asyncio.to_thread(own_mongo_server.restart)
    await database.ping()
    await rows.insert_many(numbered(3))
    assert [row["n"] for row in await rows.find({}, limit=9, sort=[("n", 1)])] in ([1, 3], [1, 2, 3])
    await database.close()


async def test_a_server_that_stands_still_is_given_up_in_time(own_mongo_server: MongoServer) -> None:
    database = Database(StorageSettings(uri=own_mongo_server.uri, operation_timeout_ms=300))
    rows = database.collection("rows", direct=True)
    await database.ping()
    await rows.insert_many(numbered(1))
    own_mongo_server.pause()
    with pytest.raises(FlowError) as caught:
        await rows.find_one({})
    assert caught.value.kind is UNAVAILABLE
    own_mongo_server.resume()
    await database.ping()
    assert await rows.find_one({}) is not None
    await database.close()


async def test_with_a_password_over_tls(tmp_path: Path) -> None:
    server = GuardedMongoServer()
    uri = await asyncio.to_thread(server.start, tmp_path)
    database = Database(StorageSettings(uri=uri))
    await database.ping()
    rows = database.collection("rows", direct=True)
    await rows.insert_many(numbered(1, 2))
    assert len(await rows.find({}, limit=9)) == 2
    assert database.statistics()["direct_opened"] == 1
    await database.close()
    stranger = Database(StorageSettings(uri=uri.replace("correct%20horse", "wrong")))
    with pytest.raises(FlowError) as caught:
        await stranger.ping()
    assert caught.value.kind is START_FAILED
    await stranger.close()
    await asyncio.to_thread(server.stop)
