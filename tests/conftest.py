"""Fixtures that every test may ask for: real servers, one each per session, and storage over them, fresh per test.

A test that asks for any of them needs the marker `storage`. Nothing is started until it is asked for.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from cluster.kernel.clock import SystemClock
from cluster.kernel.ids import new_id
from storage.client import Database
from storage.indexes import ensure_indexes
from storage.open import Storage, open_storage
from storage.settings import StorageSettings
from tests.support.servers import MongoServer, RedisServer

OpenDatabase = Callable[..., Awaitable[Database]]


@pytest.fixture(scope="session")
def mongo_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MongoServer]:
    """Shared by all tests of the session; one that kills it must restart it."""
    server = MongoServer()
    server.start(tmp_path_factory.mktemp("mongod"))
    yield server
    server.stop()


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """Shared by all tests of the session; one that kills it must restart it."""
    server = RedisServer()
    server.start(tmp_path_factory.mktemp("redis"))
    yield server
    server.stop()


@pytest.fixture
def own_mongo_server(tmp_path: Path) -> Iterator[MongoServer]:
    """One that the test may kill without harm to others."""
    server = MongoServer()
    server.start(tmp_path)
    yield server
    server.stop()


@pytest.fixture
def own_redis_server(tmp_path: Path) -> Iterator[RedisServer]:
    """One that the test may kill without harm to others."""
    server = RedisServer()
    server.start(tmp_path)
    yield server
    server.stop()


@pytest.fixture
def storage_settings(mongo_server: MongoServer) -> StorageSettings:
    """MongoDB alone, with a database of the test's own."""
    return StorageSettings(uri=mongo_server.uri, database=f"test_{new_id()}")


@pytest.fixture
async def open_database(storage_settings: StorageSettings) -> AsyncIterator[OpenDatabase]:
    """`await open_database("messages", …)`: the test's database with the indexes of those collections."""
    opened: list[Database] = []

    async def open_with(*collections: str) -> Database:
        database = Database(storage_settings)
        opened.append(database)
        await ensure_indexes(database, build_ms=storage_settings.index_timeout_ms, only=frozenset(collections))
        return database

    yield open_with
    for database in opened:
        await database.close()


@pytest.fixture
async def storage(storage_settings: StorageSettings, redis_server: RedisServer) -> AsyncIterator[Storage]:
    """All of storage over a database of the test's own and an empty Redis."""
    redis_server.empty()
    opened = await open_storage(replace(storage_settings, redis_url=redis_server.uri), SystemClock())
    while not opened.cache.listening:  # noqa: ASYNC110 - a gauge, which nobody announces
        await asyncio.sleep(0.01)  # until it hears Redis it believes nothing there
    yield opened
    await opened.close()
