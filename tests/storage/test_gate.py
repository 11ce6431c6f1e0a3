"""The gate before the database: bounded, in order, and never a hang."""

import asyncio

import pytest

from cluster.kernel.errors import OVERLOADED, UNAVAILABLE, FlowError
from storage.client import Database
from storage.gate import Gate
from storage.settings import StorageSettings
from tests.support.servers import MongoServer


async def hold(gate: Gate, entered: asyncio.Event, leave: asyncio.Event) -> None:
    async with gate.turn():
        entered.set()
        await leave.wait()


async def test_turns_are_given_in_order_and_no_more_than_there_are_slots() -> None:
    gate = Gate(slots=3, most_waiting=100, wait_ms=10_000)
    order: list[int] = []
    most = 0

    async def work(number: int) -> None:
        nonlocal most
        async with gate.turn():
            order.append(number)
            most = max(most, gate.statistics()["running"])
            await asyncio.sleep(0)

    await asyncio.gather(*(work(number) for number in range(50)))
    assert order == list(range(50))
    assert most == 3
    assert gate.statistics() == {"running": 0, "waiting": 0, "refused": 0, "given_up": 0}


async def test_too_many_who_wait_are_refused_and_the_others_give_up_in_time() -> None:
    gate = Gate(slots=1, most_waiting=2, wait_ms=20)
    entered, leave = asyncio.Event(), asyncio.Event()
    holder = asyncio.create_task(hold(gate, entered, leave))
    await entered.wait()
    results = await asyncio.gather(*(hold(gate, entered, leave) for _ in range(5)), return_exceptions=True)
    assert [result.kind for result in results] == [UNAVAILABLE] * 2 + [OVERLOADED] * 3
    assert gate.statistics() == {"running": 1, "waiting": 0, "refused": 3, "given_up": 2}
    leave.set()
    await holder
    async with gate.turn():
        assert gate.statistics()["running"] == 1


async def test_who_is_cancelled_while_waiting_takes_no_slot() -> None:
    gate = Gate(slots=1, most_waiting=2, wait_ms=10_000)
    entered, leave = asyncio.Event(), asyncio.Event()
    holder = asyncio.create_task(hold(gate, entered, leave))
    await entered.wait()
    waiter = asyncio.create_task(hold(gate, asyncio.Event(), leave))
    await asyncio.sleep(0)
    waiter.cancel()
    await asyncio.gather(waiter, return_exceptions=True)
    leave.set()
    await holder
    async with asyncio.timeout(1), gate.turn():
        assert gate.statistics() == {"running": 1, "waiting": 0, "refused": 0, "given_up": 0}


@pytest.mark.storage
async def test_a_server_that_hangs_ends_hundreds_of_calls_in_time_and_begins_no_write_late(
    own_mongo_server: MongoServer,
) -> None:
    settings = StorageSettings(uri=own_mongo_server.uri, pool_size=4, most_waiting=200, operation_timeout_ms=700)
    database = Database(settings)
    rows = database.collection("rows")
    await rows.insert_one({"_id": "first"})
    own_mongo_server.pause()
    async with asyncio.timeout(4):
        results = await asyncio.gather(
            *(rows.insert_one({"_id": number}) for number in range(300)), return_exceptions=True
        )
    assert {type(result) for result in results} == {FlowError}
    assert {result.kind for result in results} == {UNAVAILABLE, OVERLOADED}
    assert sum(result.kind is OVERLOADED for result in results) == 96
    own_mongo_server.resume()
    await database.ping()
    assert await rows.count({}) <= 1 + 2 * 4  # those that were under way may have arrived
    await database.close()
