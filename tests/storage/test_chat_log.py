"""The chat log on real MongoDB: the contract, and what only a real server can do to it."""

import asyncio

import pytest

from cluster.kernel.clock import SystemClock
from cluster.kernel.errors import UNAVAILABLE, FlowError
from storage.chat_log import MongoChatLog
from storage.client import Database
from storage.indexes import ensure_indexes
from storage.messages import Messages
from storage.records import AppendResult
from storage.settings import StorageSettings
from tests.conftest import OpenDatabase
from tests.storage.contract_chat_fence import ChatFenceContract
from tests.storage.contract_chat_log import ROOM, ChatLogContract, append, claim, following, message
from tests.storage.contract_owed_messages import OwedMessagesContract
from tests.support.servers import MongoServer

pytestmark = pytest.mark.storage


class TestMongoChatLog(ChatLogContract, ChatFenceContract, OwedMessagesContract):
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
            return await log.append(batch, [None] * len(batch))
        except FlowError as error:
            if error.kind is not UNAVAILABLE:
                raise


@pytest.mark.parametrize("_round", range(3))
async def test_a_server_killed_during_appends_loses_and_repeats_nothing(frail, _round: int) -> None:
    log, server = frail
    sent = following(await claim(log), 3_000)
    acknowledged: list = []
    started = asyncio.Event()

    async def write() -> None:
        for start in range(0, len(sent), 50):
            batch = sent[start : start + 50]
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
    batch = following(await claim(log), 10)
    server.pause()
    with pytest.raises(FlowError) as caught:
        await asyncio.wait_for(log.append(batch, [None] * 10), 5)
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
    [sent] = following(head, 1, at_ms=1_700_000_000_000)
    await log.append([sent], [None])
    [read] = (await log.claim(ROOM, "dm", 10, create=True)).window
    assert read == sent
    assert type(read.at_ms) is int


# --- seals ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("spoken", [0, 2])
async def test_a_room_of_an_earlier_build_keeps_its_epoch_and_messages(
    open_database: OpenDatabase, spoken: int
) -> None:
    """Its epoch stands in the room's document, and there is no seal."""
    database = await open_database("messages")
    log = MongoChatLog(database, SystemClock())
    record = {"kind": "event", "name": "", "created_by": "", "created_at_ms": 1, "epoch": 7}
    await database.collection("rooms").insert_one({"_id": ROOM, **record})
    old = [message(seq, epoch=7) for seq in range(1, spoken + 1)]
    await append(log, *old)
    head = await claim(log)
    assert (head.epoch, head.seq, list(head.window)) == (8, spoken, old)
    assert await append(log, *following(head, 2)) == AppendResult(2)
    assert (await claim(log)).epoch == 9


async def test_a_seal_that_missed_a_claim_fences_the_one_it_missed(open_database: OpenDatabase) -> None:
    """Who claims had read the log before another did and wrote: both count the same epoch."""
    database = await open_database("messages")
    log, messages = MongoChatLog(database, SystemClock()), Messages(database)
    await append(log, *following(await claim(log), 1))
    before = await messages.tail(ROOM, 1)
    owner = await claim(log)
    batch = following(owner, 6)
    await append(log, batch[0])
    assert await messages.seal(ROOM, before, owner.epoch, ahead=4) is None
    assert await append(log, *batch[1:]) == AppendResult(3, "fenced")
    head = await claim(log)
    assert (head.epoch, list(head.window)[1:]) == (owner.epoch + 1, batch[:4])
    assert await append(log, *following(head, 2)) == AppendResult(2)


@pytest.mark.parametrize("written", [0, 3, 4, 5])
async def test_a_seal_ahead_of_a_busy_owner_stops_it_there_and_is_moved_to_the_end(
    open_database: OpenDatabase, written: int
) -> None:
    """A claim that loses the race for the end too often puts one up, and may die before it has moved it."""
    database = await open_database("messages")
    log, messages = MongoChatLog(database, SystemClock()), Messages(database)
    batch = following(await claim(log), 6)
    await append(log, batch[0])
    assert await messages.seal(ROOM, await messages.tail(ROOM, 1), 2, ahead=4) is None
    assert await append(log, *batch[1 : 1 + written]) == AppendResult(
        min(written, 4), "fenced" if written > 4 else None
    )
    head = await claim(log)
    assert (head.epoch, head.seq) == (3, 1 + min(written, 4))
    assert (await append(log, *batch[head.seq :])).refusal == "fenced"
    ours = following(head, 2)
    assert await append(log, *ours) == AppendResult(2)
    assert await log.after(ROOM, 0, 10) == [*batch[: head.seq], *ours]


async def test_a_seal_that_was_taken_over_is_not_taken_over_again(open_database: OpenDatabase) -> None:
    """Two claims that read the same end: one of them is told to read it again."""
    messages = Messages(await open_database("messages"))
    for _ in range(2):
        tail = await messages.tail(ROOM, 1)
        placed = [await messages.seal(ROOM, tail, tail.epoch + 1, ahead=0) for _ in range(2)]
        assert placed[0] is not None
        assert placed[1] is None


@pytest.mark.parametrize("busy", ["written", "claimed"])
async def test_a_room_that_was_not_left_alone_meanwhile_is_not_claimed_with_the_others(
    open_database: OpenDatabase, busy: str
) -> None:
    """Between the reading of the ends and the seals: by an owner that writes on, or by another claim."""
    database = await open_database("messages", "rooms")
    log, messages = MongoChatLog(database, SystemClock()), Messages(database)
    other, sealed = "event:65f0000000000000000000bb", "event:65f0000000000000000000cc"
    ours = following(await claim(log), 2)
    await append(log, ours[0])
    await append(log, *following(await claim(log, other), 1))
    await claim(log, sealed)
    rooms = [ROOM, other, sealed]
    tails = await messages.tails(rooms, 5)
    assert tails == {room: await messages.tail(room, 5) for room in rooms}
    if busy == "written":
        await append(log, ours[1])
    else:
        await claim(log)
    assert (await messages.seal_many(tails)).keys() == {other, sealed}
    heads = await log.claim_many(rooms, 5)
    assert heads.keys() == set(rooms)
    assert heads[ROOM].seq == (2 if busy == "written" else 1)
    assert await append(log, *following(heads[ROOM], 1)) == AppendResult(1)


async def test_of_seals_that_are_taken_over_together_all_are_or_none(open_database: OpenDatabase) -> None:
    database = await open_database("messages", "rooms")
    log, messages = MongoChatLog(database, SystemClock()), Messages(database)
    other = "event:65f0000000000000000000bb"
    for room in (ROOM, other):
        await claim(log, room)
    tails = await messages.tails([ROOM, other], 5)
    await claim(log)
    assert await messages.seal_many(tails) == {}
    heads = await log.claim_many([ROOM, other], 5)
    assert {room: head.epoch for room, head in heads.items()} == {ROOM: 3, other: 3}


async def test_an_id_that_a_windows_messages_share_is_held_once(open_database: OpenDatabase) -> None:
    log = MongoChatLog(await open_database("messages", "rooms"), SystemClock())
    await append(log, *following(await claim(log), 2))
    for head in (await claim(log), (await log.claim_many([ROOM], 5))[ROOM]):
        first, second = head.window
        assert first.room_id is second.room_id is ROOM
        assert first.user_id is second.user_id
