"""Opening storage: indexes and schema made right, and every way it may fail told in a sentence."""

import asyncio
from dataclasses import replace

import pytest

from cluster.kernel.clock import SystemClock
from cluster.kernel.errors import START_FAILED, UNAVAILABLE, FlowError
from storage.client import Database
from storage.index_specs import INDEXES
from storage.indexes import ensure_indexes
from storage.open import Storage, open_storage
from storage.settings import StorageSettings
from tests.support.servers import MongoServer, RedisServer, free_port

pytestmark = pytest.mark.storage

SEED_INDEXES = {
    ("users", (("profile.location", "2dsphere"),)),
    ("users", (("email", 1),)),
    ("events", (("location", "2dsphere"),)),
    ("events", (("category", 1), ("datetime.start", 1))),
    ("events", (("tags", 1),)),
    ("events", (("datetime.start", 1),)),
    ("events", (("title", "text"), ("description", "text"), ("tags", "text"))),
    ("groups", (("location", "2dsphere"),)),
    ("groups", (("category", 1),)),
}


async def failure(settings: StorageSettings) -> str:
    with pytest.raises(FlowError) as caught:
        await asyncio.wait_for(open_storage(settings, SystemClock()), 10)
    assert caught.value.kind is START_FAILED
    return caught.value.message


def test_index_names_are_used_once_a_collection() -> None:
    names = [(spec.collection, spec.name) for spec in INDEXES]
    assert len(names) == len(set(names))
    assert {(spec.collection, spec.keys) for spec in INDEXES} >= SEED_INDEXES


async def test_every_index_exists_and_opening_again_makes_none(storage: Storage, storage_settings) -> None:
    database = Database(storage_settings)
    for name in {spec.collection for spec in INDEXES}:
        wanted = {spec.name for spec in INDEXES if spec.collection == name}
        assert {index["name"] for index in await database.collection(name).indexes()} == wanted | {"_id_"}
    assert await ensure_indexes(database, build_ms=10_000) == 0
    await database.close()


async def test_an_index_in_conflict_stops_the_start(storage_settings: StorageSettings) -> None:
    database = Database(storage_settings)
    messages = database.collection("messages")
    await messages.create_index([("room_id", 1), ("seq", 1)], build_ms=10_000, name="room_id_1_seq_1")
    assert "room_id_1_seq_1 of messages exists with another uniqueness" in await failure(storage_settings)
    await database.close()


async def test_the_same_fields_under_another_name_stop_the_start(storage_settings: StorageSettings) -> None:
    database = Database(storage_settings)
    await database.collection("groups").create_index([("category", 1)], build_ms=10_000, name="mine")
    assert "category_1 of groups is in conflict" in await failure(storage_settings)
    await database.close()


async def test_data_that_breaks_a_unique_index_stops_the_start(storage_settings: StorageSettings) -> None:
    database = Database(storage_settings)
    await database.collection("devices").insert_many([{"kind": "token", "value": "v"} for _ in range(2)])
    assert "the data holds duplicates of kind, value" in await failure(storage_settings)
    await database.close()


async def test_data_of_a_newer_build_stops_the_start(storage: Storage, storage_settings: StorageSettings) -> None:
    database = Database(storage_settings)
    await database.collection("meta").update_one({"_id": "schema"}, {"$set": {"schema_version": 99}})
    assert "schema version 99" in await failure(storage_settings)
    await database.close()


async def test_no_server_stops_the_start_soon() -> None:
    settings = StorageSettings(uri=f"mongodb://127.0.0.1:{free_port()}", server_selection_timeout_ms=300)
    assert "MongoDB did not answer within 0.3 s" in await failure(settings)


async def test_a_server_that_hangs_stops_the_start_soon(own_mongo_server: MongoServer) -> None:
    own_mongo_server.pause()
    settings = StorageSettings(uri=own_mongo_server.uri, server_selection_timeout_ms=500, operation_timeout_ms=500)
    assert "MongoDB did not answer" in await failure(settings)


@pytest.mark.parametrize("uri", ["http://127.0.0.1", "mongodb://", "127.0.0.1:x"])
async def test_a_wrong_address_stops_the_start(uri: str) -> None:
    assert "address" in await failure(StorageSettings(uri=uri, server_selection_timeout_ms=300))


async def test_a_wrong_redis_address_stops_the_start(storage_settings: StorageSettings) -> None:
    assert "Redis address" in await failure(replace(storage_settings, redis_url="ftp://nowhere"))


async def test_redis_that_is_away_does_not_stop_the_start(storage_settings: StorageSettings) -> None:
    away = replace(storage_settings, redis_url=f"redis://127.0.0.1:{free_port()}/0")
    opened = await open_storage(away, SystemClock())
    await opened.ping()
    await opened.close()
    await opened.close()


async def test_a_database_that_goes_away_is_unavailable_and_comes_back(own_mongo_server: MongoServer) -> None:
    settings = StorageSettings(uri=own_mongo_server.uri, server_selection_timeout_ms=500, operation_timeout_ms=1_000)
    opened = await open_storage(settings, SystemClock())
    await asyncio.to_thread(own_mongo_server.kill)
    for attempt in (opened.ping, lambda: opened.users.by_id("anna"), lambda: opened.chat_log.after("r", 0, 1)):
        with pytest.raises(FlowError) as caught:
            await asyncio.wait_for(attempt(), 5)
        assert caught.value.kind is UNAVAILABLE
    await asyncio.to_thread(own_mongo_server.restart)
    assert await opened.users.by_id("anna") is None
    await opened.close()


def test_settings_do_not_show_their_secrets(redis_server: RedisServer) -> None:
    assert "secret" not in repr(StorageSettings(uri="mongodb://u:secret@h", redis_url="redis://:secret@h"))
