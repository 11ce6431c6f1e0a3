"""How fast a host takes over many rooms, and what its other rooms feel meanwhile, by how many it claims together.

One real host process on a MongoDB of its own. Thousands of stored rooms are asked for at the same time, as after a
takeover, while messages go into one room that is active already. Each width is measured in turn, several times; the
median counts. Prints one JSON line.
"""

import argparse
import asyncio
import json
import statistics
import tempfile
import time
from itertools import count
from pathlib import Path
from typing import Any

from actors.limits import HostLimits
from actors.messages import JoinedRoom, JoinRoom, SendMessage, SentMessage
from benchmarks.host_process import HostProcess, host_process
from benchmarks.passivation import ADA, DATABASE, ask, fill, room, touch_room
from benchmarks.percentiles import percentile
from cluster.kernel.ids import chat_key, new_id
from tests.support.servers import MongoServer

WIDTHS = (8, 32, 128)
ROOMS, ROUNDS = 3_000, 3
_PAUSE_S = 0.01
_WARM_S = 0.5


async def _talk(host: HostProcess, number: int, acks_ms: list[float]) -> None:
    """Into one room, an ack at a time, until cancelled."""
    key = chat_key(room(number))
    await ask(host, key, "chat.join", ADA, JoinRoom(), JoinedRoom)
    for _ in count():
        body = SendMessage(id=new_id(), text="meanwhile", client_message_id=new_id())
        sent_at = time.perf_counter()
        await ask(host, key, "chat.send", ADA, body, SentMessage)
        acks_ms.append((time.perf_counter() - sent_at) * 1000)
        await asyncio.sleep(_PAUSE_S)


async def take_over(uri: str, rooms: int, width: int) -> dict[str, float]:
    acks_ms: list[float] = []
    async with host_process(uri, DATABASE, HostLimits(claim_batch=width)) as host:
        talking = asyncio.create_task(_talk(host, rooms, acks_ms))
        await asyncio.sleep(_WARM_S)
        acks_ms.clear()
        started = time.perf_counter()
        async with asyncio.TaskGroup() as group:
            for number in range(rooms):
                group.create_task(touch_room(host, number))
        elapsed = time.perf_counter() - started
        talking.cancel()
        await asyncio.gather(talking, return_exceptions=True)
    acks = {f"other_ack_ms_p{int(share * 100)}": percentile(acks_ms, share) for share in (0.5, 0.99)}
    return {"claims_per_s": rooms / elapsed, **acks}


def run(directory: Path, rooms: int = ROOMS, rounds: int = ROUNDS) -> dict[str, Any]:
    server = MongoServer()
    uri = server.start(directory)
    try:
        fill(uri, rooms + 1)
        found: dict[int, list[dict[str, float]]] = {width: [] for width in WIDTHS}
        for _ in range(rounds):
            for width in WIDTHS:
                found[width].append(asyncio.run(take_over(uri, rooms, width)))
    finally:
        server.stop()
    medians = {
        f"at_{width}": {name: round(statistics.median(row[name] for row in rows), 1) for name in rows[0]}
        for width, rows in found.items()
    }
    return {"case": "claims", "rooms": rooms, "rounds": rounds, **medians}


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--rooms", type=int, default=ROOMS)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        print(json.dumps(run(Path(name), given.rooms, given.rounds)))
