"""A server that was restarted and is not in its replica set yet: away, and not broken."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pymongo
import pytest

from cluster.kernel.errors import UNAVAILABLE, FlowError
from storage.client import Database
from storage.settings import StorageSettings
from tests.support.servers import free_port, mongod_binary

pytestmark = pytest.mark.storage


@pytest.fixture
def outside_its_set(tmp_path: Path) -> Iterator[str]:
    """The address of a server that knows that it belongs to a set, and not yet to which."""
    port = free_port()
    command = [str(mongod_binary()), "--dbpath", str(tmp_path), "--port", str(port), "--replSet", "flow"]
    command += ["--bind_ip", "127.0.0.1", "--nounixsocket", "--quiet", "--wiredTigerCacheSizeGB", "0.25"]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    with pymongo.MongoClient("127.0.0.1", port, directConnection=True) as client:
        client.admin.command("hello")
    yield f"mongodb://127.0.0.1:{port}/?directConnection=true"
    server.terminate()
    server.wait()


async def test_a_server_that_is_not_back_in_its_set_is_away(outside_its_set: str) -> None:
    database = Database(StorageSettings(uri=outside_its_set, operation_timeout_ms=2_000))
    events = database.collection("events")
    with pytest.raises(FlowError) as caught:
        async with database.transaction(await database.open_session()) as transaction:
            await events.update_many({}, {"$inc": {"room.writes": 1}}, within=transaction)
    assert caught.value.kind is UNAVAILABLE
    await database.close()
