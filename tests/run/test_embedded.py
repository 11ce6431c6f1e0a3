"""The embedded servers, real: they come up, survive kill -9, are brought back, keep their data and can be moved."""

import asyncio
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from pymongo import AsyncMongoClient

from cluster.kernel.errors import START_FAILED, FlowError
from cluster.run.embedded.mongod import Mongod
from cluster.run.embedded.redis import RedisServer
from cluster.run.embedded.server import EmbeddedServer

pytestmark = pytest.mark.storage


@pytest.fixture
def runtime() -> Iterator[Path]:
    """Short, for the path of a Unix socket."""
    with tempfile.TemporaryDirectory(prefix="flow-", dir="/tmp") as name:
        yield Path(name)


def mongod(data: Path, runtime: Path) -> EmbeddedServer:
    log = data / "mongodb.log"
    return EmbeddedServer(Mongod(data, runtime, log, 0.25), log, ready_timeout_s=30, max_restarts_in_a_row=2)


def redis(data: Path, runtime: Path) -> EmbeddedServer:
    log = data / "redis.log"
    return EmbeddedServer(RedisServer(data, runtime, log, 16), log, ready_timeout_s=30, max_restarts_in_a_row=2)


async def documents(server: EmbeddedServer, add: int | None = None) -> list[int]:
    client: AsyncMongoClient[dict[str, Any]] = AsyncMongoClient(server.program.url)
    try:
        collection = client.flow.numbers
        if add is not None:
            async with client.start_session() as session, await session.start_transaction():
                await collection.insert_one({"_id": add}, session=session)
        return [document["_id"] async for document in collection.find().sort("_id")]
    finally:
        await client.close()


async def killed(server: EmbeddedServer) -> None:
    process = psutil.Process(server.statistics()["pid"])
    process.kill()
    await asyncio.to_thread(psutil.wait_procs, [process], 5)


async def test_mongodb_keeps_what_it_acknowledged_when_it_is_killed(tmp_path: Path, runtime: Path) -> None:
    server = mongod(tmp_path, runtime)
    server.spawn()
    await server.ready()
    assert await documents(server, add=1) == [1]
    listening = psutil.Process(server.statistics()["pid"]).net_connections(kind="inet")
    assert not listening, "it must not be on any network"
    watch = asyncio.ensure_future(server.watch())
    await killed(server)
    while not server.statistics()["restarts"]:
        await asyncio.wait({watch}, timeout=0.01)
    await server.ready()
    assert await documents(server, add=2) == [1, 2]
    await server.stop(10)
    await watch
    assert not server.statistics()["alive"]


async def test_mongodb_is_found_again_after_its_directory_was_moved(tmp_path: Path, runtime: Path) -> None:
    before = tmp_path / "before"
    before.mkdir()
    server = mongod(before, runtime)
    server.spawn()
    await server.ready()
    await documents(server, add=1)
    await server.stop(10)
    after = tmp_path / "after"
    shutil.move(before, after)
    with tempfile.TemporaryDirectory(prefix="flow-", dir="/tmp") as other:
        moved = mongod(after, Path(other))
        moved.spawn()
        await moved.ready()
        assert await documents(moved, add=2) == [1, 2]
        await moved.stop(10)


async def test_redis_comes_up_on_its_socket_and_ends(tmp_path: Path, runtime: Path) -> None:
    server = redis(tmp_path, runtime)
    server.spawn()
    await server.ready()
    assert server.program.url == f"unix://{runtime}/redis.sock"
    assert not psutil.Process(server.statistics()["pid"]).net_connections(kind="inet")
    await server.stop(5)
    assert not await server.program.answers()


async def test_one_that_cannot_start_says_why(tmp_path: Path, runtime: Path) -> None:
    first = mongod(tmp_path, runtime)
    first.spawn()
    await first.ready()
    with tempfile.TemporaryDirectory(prefix="flow-", dir="/tmp") as other:
        second = mongod(tmp_path, Path(other))
        second.spawn()
        with pytest.raises(FlowError, match=r"MongoDB ended with code \d+.*mongodb\.log") as caught:
            await second.ready()
    assert caught.value.kind is START_FAILED
    await first.stop(10)


async def test_one_that_keeps_dying_is_given_up(tmp_path: Path, runtime: Path) -> None:
    server = redis(tmp_path, runtime)
    server.spawn()
    await server.ready()
    watch = asyncio.ensure_future(server.watch())
    while not watch.done():
        if server.statistics()["alive"]:
            await killed(server)
        await asyncio.wait({watch}, timeout=0.005)
    with pytest.raises(FlowError, match="3 times in a row"):
        await watch
