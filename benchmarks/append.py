"""What one append to a chat log costs, and how much of it is reading the room's epoch again afterwards.

A MongoDB of its own; one message at a time, then batches of a hundred, each as the log writes them and without the
fence. Milliseconds, p50 and p99; the fence's share is what a fence without a round trip of its own could save.
"""

import asyncio
import json
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from benchmarks.percentiles import percentile
from cluster.kernel.clock import SystemClock
from cluster.kernel.ids import new_id
from storage.chat_log import MongoChatLog
from storage.client import Database
from storage.indexes import ensure_indexes
from storage.messages import Messages
from storage.records import Message
from storage.settings import StorageSettings
from tests.support.servers import MongoServer

WARM_UP, ROUNDS = 100, 1_000

Append = Callable[[list[Message], list[bool]], Awaitable[Any]]


def batch(room_id: str, first: int, size: int) -> list[Message]:
    return [
        Message(
            id=new_id(),
            room_id=room_id,
            seq=seq,
            epoch=1,
            user_id="a" * 24,
            text="about as long as people write",
            at_ms=seq,
            client_message_id=new_id(),
        )
        for seq in range(first, first + size)
    ]


async def times(append: Append, room_id: str, size: int, rounds: int) -> list[float]:
    took = []
    for number in range(WARM_UP + rounds):
        messages = batch(room_id, 1 + number * size, size)
        started = time.perf_counter()
        await append(messages, [True] * size)
        if number >= WARM_UP:
            took.append((time.perf_counter() - started) * 1000)
    return took


async def measure(uri: str) -> dict[str, Any]:
    database = Database(StorageSettings(uri=uri, database="append"))
    await ensure_indexes(database, build_ms=60_000)
    log, bare = MongoChatLog(database, SystemClock()), Messages(database)
    result: dict[str, Any] = {"case": "append"}
    for size, rounds in ((1, ROUNDS), (100, ROUNDS // 10)):
        for name, append in (("fenced", log.append), ("unfenced", bare.insert)):
            room_id = new_id()
            await log.claim(room_id, "group", 1, create=True)
            took = await times(append, room_id, size, rounds)
            result[f"{name}_{size}_ms_p50"] = round(percentile(took, 0.5), 2)
            result[f"{name}_{size}_ms_p99"] = round(percentile(took, 0.99), 2)
        result[f"fence_share_{size}"] = round(
            1 - result[f"unfenced_{size}_ms_p50"] / result[f"fenced_{size}_ms_p50"], 2
        )
    await database.close()
    return result


def run(directory: Path) -> dict[str, Any]:
    server = MongoServer()
    uri = server.start(directory)
    try:
        return asyncio.run(measure(uri))
    finally:
        server.stop()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        print(json.dumps(run(Path(name))))
