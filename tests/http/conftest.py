"""The HTTP interface over real storage, for the tests of this folder that ask for `api`."""

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from cluster.kernel.clock import ManualClock
from cluster.kernel.ids import new_id
from realtime.http.settings import ApiSettings
from storage.index_specs import INDEXES
from storage.open import Storage, open_storage
from storage.settings import StorageSettings
from tests.http.harness import Api, start_api
from tests.support.servers import MongoServer

StartApi = Callable[..., Awaitable[Api]]


@pytest.fixture
def clock() -> ManualClock:
    """Starts now, because the database's own clock takes expired tokens away."""
    return ManualClock(time.time_ns() // 1_000_000)


@pytest.fixture(scope="session")
def database_name() -> str:
    """One for the folder: its indexes are built once, and each test leaves it empty."""
    return f"test_{new_id()}"


@pytest.fixture
async def storage(mongo_server: MongoServer, database_name: str, clock: ManualClock) -> AsyncIterator[Storage]:
    opened = await open_storage(
        StorageSettings(uri=mongo_server.uri, database=database_name, lonely_ttl_s=3_600), clock
    )
    yield opened
    for collection in {spec.collection for spec in INDEXES} | {"rooms", "invitations"}:
        _ = await opened._database.collection(collection).delete_many({})
    await opened.close()


@pytest.fixture
async def start(storage: Storage, clock: ManualClock) -> AsyncIterator[StartApi]:
    """`await start(settings, name=value…)`: the interface with other settings or another part."""
    started: list[Api] = []

    async def begin(settings: ApiSettings | None = None, **changes: Any) -> Api:
        api = await start_api(changes.pop("storage", storage), clock, settings or ApiSettings(), **changes)
        started.append(api)
        return api

    yield begin
    for api in started:
        await api.client.close()
        api.context.passwords.close()


@pytest.fixture
async def api(start: StartApi) -> Api:
    return await start()


@pytest.fixture
def mongo(mongo_server: MongoServer) -> MongoServer:
    return mongo_server
