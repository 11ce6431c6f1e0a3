"""The chat log on real MongoDB: the contract, and what only a real server can do to it."""

import asyncio

import pytest
from msgspec import structs

from cluster.kernel.clock import SystemClock
from cluster.kernel.errors import UNAVAILABLE, FlowError
from storage.chat_log import MongoChatLog
from storage.client import Database
from storage.indexes import ensure_indexes
from storage.records import AppendResult
from storage.settings import StorageSettings
from tests.conftest import OpenDatabase
from tests.storage.contract_chat_log import ROOM, ChatLogContract, message
from tests.support.servers import MongoServer

pytestmark = pytest.mark.storage


class TestMongoChatLog(ChatLogContract):
    @pytest.fixture
    async def log(self, open_database: OpenDatabase) -> MongoChatLog:
        return MongoChatLog(await open_database("messages"), SystemClock())


@pytest.fixture
async def frail(own_mongo_server: MongoServer):
    """A log whose server the test may kill, and that gives up soon."""
    settings = StorageSettings(uri=own_mongo_server.uri, operation_timeout_ms=1_500, server_selection_timeout_ms=1_000)
    database = Database(settings)
    await ensure_indexes(database, build_ms=20_000, only=frozenset({"messages"}))
    yield MongoChatLog(database, SystemClock()), own_mongo_server
    await database.close()


async def _append_until_it_answers(log: MongoChatLog, batch: list) -> AppendResult:
    while True:
        try:
            return await log.append(batch, [False] * len(batch))
        except FlowError as error:
            if error.kind is not UNAVAILABLE:
                raise


@pytest.mark.parametrize("_round", range(3))
async def test_a_server_killed_during_appends_loses_and_repeats_nothing(frail, _round: int) -> None:
    log, server = frail
    await log.claim(ROOM, "event", 1, create=True)
    acknowledged: list = []
    started = asyncio.Event()

    async def write() -> None:
        for first in range(1, 3_000, 50):
            batch = [message(seq) for seq in range(first, first + 50)]
            assert await _append_until_it_answers(log, batch) == AppendResult(50)
            acknowledged.extend(batch)
            if len(acknowledged) >= 500:
                started.set()

    writer = asyncio.create_task(write())
    await started.wait()
    await asyncio.to_thread(server.kill)
    await asyncio.to_thread(server.restart)
    await writer
    stored = []
    while page := await log.after(ROOM, len(stored), 500):
        stored.extend(page)
    assert stored == acknowledged


async def test_a_server_that_hangs_is_unavailable_and_the_write_is_settled_later(frail) -> None:
    log, server = frail
    await log.claim(ROOM, "event", 1, create=True)
    batch = [message(seq) for seq in range(1, 11)]
    server.pause()
    with pytest.raises(FlowError) as caught:
        await asyncio.wait_for(log.append(batch, [False] * 10), 5)
    assert caught.value.kind is UNAVAILABLE
    server.resume()
    assert await _append_until_it_answers(log, batch) == AppendResult(10)
    assert await log.after(ROOM, 0, 100) == batch


async def test_the_epoch_of_a_claim_outlives_a_kill(frail) -> None:
    log, server = frail
    await log.claim(ROOM, "event", 1, create=True)
    await asyncio.to_thread(server.kill)
    await asyncio.to_thread(server.restart)
    head = await log.claim(ROOM, "event", 1, create=True)
    assert head.epoch == 2


async def test_numbers_come_back_as_plain_integers(open_database: OpenDatabase) -> None:
    """The driver's own 64-bit type could not travel on a link: a room that was read back answered nobody."""
    log = MongoChatLog(await open_database("messages"), SystemClock())
    head = await log.claim(ROOM, "dm", 10, create=True)
    sent = structs.replace(message(1, epoch=head.epoch), at_ms=1_700_000_000_000)
    await log.append([sent], [False])
    [read] = (await log.claim(ROOM, "dm", 10, create=True)).window
    assert read == sent
    assert type(read.at_ms) is int
