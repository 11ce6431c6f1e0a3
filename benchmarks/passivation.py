"""Many more rooms and sessions than a host may hold, touched in turn: is its memory flat, and is what comes back right?

One real host process on a MongoDB of its own. First 200,000 direct rooms of two messages, then 200,000 sessions, each
kind on a fresh host with a cap of 50,000. Every answer is checked against what is stored; afterwards some that had to
leave are asked again. `bytes_a_key` is the growth of the process (RSS) over the last four fifths below the cap; a
turnover is the time in which as many keys as the cap have left again.
"""

import argparse
import asyncio
import json
import random
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pymongo

from actors.limits import HostLimits
from actors.messages import (
    METHOD_COMMAND,
    AttachConnection,
    Attached,
    Command,
    DetachConnection,
    JoinedRoom,
    JoinRoom,
    SendMessage,
    SentMessage,
)
from benchmarks.host_process import HostProcess, host_process
from cluster.kernel.ids import Key, chat_key, new_id, user_key
from cluster.kernel.wire import decode, encode
from tests.support.servers import MongoServer

ADA = "a" * 24
CAP = 50_000
STEPS_TO_CAP = 5
"""The memory is looked at so often until the cap, and as often per cap after it."""
AGAIN = 2_000
AT_ONCE = 96
TIMEOUT_S = 30.0
DATABASE = "passivation"
_BATCH = 5_000


def person(number: int) -> str:
    """A key follows from its number, so that every answer can be checked without remembering it."""
    return f"b{number:023x}"


def reader(number: int) -> str:
    """The sessions' people write to nobody, so that what a room owes its people changes no session's count."""
    return f"c{number:023x}"


def room(number: int) -> str:
    return f"dm:{ADA}:{person(number)}"


def text(number: int, seq: int) -> str:
    return f"message {seq} of room {number}, about as long as people write"


# --- what is stored ---------------------------------------------------------------------------------------------------


def fill(uri: str, count: int) -> None:
    with pymongo.MongoClient(uri) as client:
        database = client[DATABASE]
        for first in range(0, count, _BATCH):
            numbers = range(first, min(count, first + _BATCH))
            database.rooms.insert_many([_room(number) for number in numbers])
            database.messages.insert_many([_message(number, seq) for number in numbers for seq in (1, 2)])
            database.users.insert_many([_user(number) for number in numbers])
            told = [_notification(number, nth) for number in numbers for nth in range(number % 3)]
            database.notifications.insert_many(told)


def _room(number: int) -> dict[str, Any]:
    return {"_id": room(number), "kind": "dm", "name": "", "created_by": "", "created_at_ms": 1, "epoch": 1}


def _message(number: int, seq: int) -> dict[str, Any]:
    return {
        "_id": f"{number:016x}{seq:08x}",
        "room_id": room(number),
        "seq": seq,
        "epoch": 1,
        "user_id": ADA if seq == 1 else person(number),
        "text": text(number, seq),
        "at_ms": seq,
        "client_message_id": f"{number:028x}-{seq:07x}",
    }


def _user(number: int) -> dict[str, Any]:
    return {"_id": reader(number), "username": f"c{number}", "usernameLower": f"c{number}", "email": None}


def _notification(number: int, nth: int) -> dict[str, Any]:
    return {"_id": f"{number:016x}{nth:08x}", "user_id": reader(number), "at_ms": nth, "read": False}


# --- touching ---------------------------------------------------------------------------------------------------------


async def ask(host: HostProcess, key: Key, name: str, user: str, body: Any, reply: type[Any]) -> Any:
    command = Command(key=str(key), name=name, user=user, connection="c1", body=msgspec.Raw(encode(body)))
    return decode(await host.links.link_for(key).call(METHOD_COMMAND, command, TIMEOUT_S), reply)


async def touch_room(host: HostProcess, number: int) -> None:
    joined = await ask(host, chat_key(room(number)), "chat.join", ADA, JoinRoom(), JoinedRoom)
    assert [message["text"] for message in joined.messages] == [text(number, 1), text(number, 2)], number


async def write_room(host: HostProcess, number: int) -> None:
    body = SendMessage(id=new_id(), text="and one more", client_message_id=new_id())
    sent = await ask(host, chat_key(room(number)), "chat.send", ADA, body, SentMessage)
    assert sent.seq == 3, (number, sent)


async def touch_session(host: HostProcess, number: int) -> None:
    who = reader(number)
    attached = await ask(host, user_key(who), "session.attach", who, AttachConnection(), Attached)
    assert attached.unread == number % 3, (number, attached)
    await ask(host, user_key(who), "session.detach", who, DetachConnection(), Any)


Touch = Callable[[HostProcess, int], Awaitable[None]]


async def touch_all(host: HostProcess, touch: Touch, numbers: Iterator[int]) -> None:
    async def some() -> None:
        for number in numbers:
            await touch(host, number)

    async with asyncio.TaskGroup() as group:
        for _ in range(AT_ONCE):
            group.create_task(some())


async def measure(uri: str, keys: int, cap: int, touch: Touch, touch_again: Touch) -> dict[str, Any]:
    limits = HostLimits(max_active=cap, idle_s=3_600.0)
    step = cap // STEPS_TO_CAP
    async with host_process(uri, DATABASE, limits) as host:
        started = time.perf_counter()
        series, stalls = [host.resident_bytes()], []
        for first in range(0, keys, step):
            await touch_all(host, touch, iter(range(first, min(keys, first + step))))
            series.append(host.resident_bytes())
            numbers = await host.statistics()
            stalls.append(numbers["longest_stall_ms"])
        elapsed = time.perf_counter() - started
        chosen = random.Random(7).sample(range(keys - cap), min(AGAIN, keys - cap))  # all of them left
        await touch_all(host, touch_again, iter(chosen))
        numbers = await host.statistics()
    after_cap, turned_over = series[STEPS_TO_CAP:], series[2 * STEPS_TO_CAP :]
    return {
        "keys": keys,
        "cap": cap,
        "bytes_a_key": round((after_cap[0] - series[1]) / (cap - step)),
        "growth_after_cap_percent": round(100 * (after_cap[-1] / after_cap[0] - 1), 1),
        "growth_after_turnover_percent": round(100 * (after_cap[-1] / turned_over[0] - 1), 1),
        "resident_mb": [round(size / 1e6, 1) for size in series],
        "active": numbers["active"],
        "passivations": numbers["passivations"],
        "asked_again_and_right": len(chosen),
        "keys_a_second": round(keys / elapsed),
        "longest_stall_ms": max(stalls),
    }


def run(directory: Path, keys: int = 200_000, cap: int = CAP, kind: str = "both") -> dict[str, Any]:
    server = MongoServer()
    uri = server.start(directory)
    try:
        fill(uri, keys)
        result: dict[str, Any] = {"case": "passivation"}
        if kind != "sessions":
            result["rooms"] = asyncio.run(measure(uri, keys, cap, touch_room, write_room))
        if kind != "rooms":
            result["sessions"] = asyncio.run(measure(uri, keys, cap, touch_session, touch_session))
        return result
    finally:
        server.stop()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--keys", type=int, default=200_000)
    parser.add_argument("--cap", type=int, default=CAP)
    parser.add_argument("--kind", choices=("both", "rooms", "sessions"), default="both")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        print(json.dumps(run(Path(name), given.keys, given.cap, given.kind)))
