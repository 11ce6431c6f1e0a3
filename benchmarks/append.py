"""What one append to a chat log costs, and what it cost when the room's epoch was read again after each.

A MongoDB of its own; one message at a time, then batches of a hundred, each as the log writes them and with the read
that its seal replaces. Then claims, and the first message after each. Milliseconds, p50 and p99; the shares are of one
run.
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
from storage.records import Message, RoomHead
from storage.rooms import Rooms
from storage.settings import StorageSettings
from tests.support.servers import MongoServer

WARM_UP, ROUNDS = 100, 1_000

Append = Callable[[list[Message], list[bool]], Awaitable[Any]]


def batch(head: RoomHead, first: int, size: int) -> list[Message]:
    """The messages from `first` on of the owner with this head."""
    return [
        Message(
            id=head.sealed_id if seq == head.seq + 1 else new_id(),
            room_id=head.room_id,
            seq=seq,
            epoch=head.epoch,
            user_id="a" * 24,
            text="about as long as people write",
            at_ms=seq,
            client_message_id=new_id(),
            first=seq == head.seq + 1,
        )
        for seq in range(first, first + size)
    ]


async def times(append: Append, head: RoomHead, size: int, rounds: int) -> list[float]:
    took = []
    for number in range(WARM_UP + rounds):
        messages = batch(head, 1 + number * size, size)
        started = time.perf_counter()
        await append(messages, [True] * size)
        if number >= WARM_UP:
            took.append((time.perf_counter() - started) * 1000)
    return took


async def claims(log: MongoChatLog, rounds: int) -> tuple[list[float], list[float]]:
    """A room claimed again and again, with one message after each claim."""
    room_id = new_id()
    claiming, writing = [], []
    for number in range(WARM_UP + rounds):
        started = time.perf_counter()
        head = await log.claim(room_id, "group", 32, create=True)
        claimed = time.perf_counter()
        await log.append(batch(head, head.seq + 1, 1), [True])
        if number >= WARM_UP:
            claiming.append((claimed - started) * 1000)
            writing.append((time.perf_counter() - claimed) * 1000)
    return claiming, writing


async def measure(uri: str) -> dict[str, Any]:
    database = Database(StorageSettings(uri=uri, database="append"))
    await ensure_indexes(database, build_ms=60_000)
    log, rooms = MongoChatLog(database, SystemClock()), Rooms(database)
    result: dict[str, Any] = {"case": "append"}

    async def and_read(messages: list[Message], owed: list[bool]) -> None:
        await log.append(messages, owed)
        await rooms.by_id(messages[0].room_id)

    def add(name: str, took: list[float]) -> float:
        p50 = percentile(took, 0.5)
        result[f"{name}_ms_p50"] = round(p50, 2)
        result[f"{name}_ms_p99"] = round(percentile(took, 0.99), 2)
        return p50

    for size, rounds in ((1, ROUNDS), (100, ROUNDS // 10)):
        p50 = {}
        for name, append in (("sealed", log.append), ("read_again", and_read)):
            head = await log.claim(new_id(), "group", 1, create=True)
            p50[name] = add(f"{name}_{size}", await times(append, head, size, rounds))
        result[f"saved_share_{size}"] = round(1 - p50["sealed"] / p50["read_again"], 2)
    for name, took in zip(("claim", "first_message"), await claims(log, ROUNDS // 4), strict=True):
        add(name, took)
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
