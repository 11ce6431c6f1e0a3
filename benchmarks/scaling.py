"""What people notice while the cluster changes size: hosts 1 to 4 to 2 under 500 messages a second.

An open loop into many rooms, a client library's one retry allowed. Prints one JSON line: acks before, during and after
each move, their ratio, and what was lost, repeated or reordered.
"""

import asyncio
import json
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.room_load import RoomLoad, spread
from cluster.run.control import ask
from cluster.run.installation import Installation
from tests.support.flow_process import FlowProcess

ROOMS, RATE = 200, 500.0
MOVES = (4, 2)
STEADY_S, WARM_UP_S = 8.0, 5.0
_CHANGE_S = 120.0


async def measure(flow: FlowProcess, rate: float) -> dict[str, Any]:
    load = RoomLoad(flow, ROOMS, rate, senders=20)
    await load.start()
    await asyncio.sleep(WARM_UP_S)
    moves = []
    for hosts in MOVES:
        begun = time.perf_counter()
        await asyncio.sleep(STEADY_S)
        changing = time.perf_counter()
        steps: list[tuple[str, float]] = []
        await asyncio.to_thread(
            ask,
            Installation(flow.data).control_socket,
            "scale",
            _CHANGE_S,
            lambda text, steps=steps, changing=changing: steps.append((text, time.perf_counter() - changing)),
            hosts=hosts,
        )
        changed = time.perf_counter()
        await asyncio.sleep(STEADY_S)
        before = spread(load.latencies_ms(begun, changing))
        during = spread(load.latencies_ms(changing, changed))
        after = spread(load.latencies_ms(changed + 1.0, changed + STEADY_S - 1.0))
        moves.append(
            {
                "to_hosts": hosts,
                "seconds": round(changed - changing, 1),
                "steps": [f"{text} at {seconds:.1f} s" for text, seconds in steps],
                "ack_ms_before": before,
                "ack_ms_during": during,
                "ack_ms_after": after,
                "p99_ratio_during": round(during["p99"] / before["p99"], 2),
            }
        )
    return {"moves": moves, **await load.stop()}


def run(directory: Path, rate: float = RATE) -> dict[str, Any]:
    """On a Flow of its own inside `directory`."""
    flow = FlowProcess(directory / "flow")
    flow.up("--no-recommender", "--hosts", "1")
    try:
        figures = asyncio.run(measure(flow, rate))
    finally:
        flow.down()
    return {"case": "scaling", "rooms": ROOMS, "messages_per_s": rate, **figures}


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        print(json.dumps(run(Path(name))))
