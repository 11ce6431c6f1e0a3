"""What people notice when a host dies: how long until its rooms answer again, and what the other rooms feel.

Sends into many rooms all the time, kills hosts with SIGKILL (one of one, one of two) and stops others with SIGSTOP, and
lets them go on after they were replaced. The other rooms are looked at three times: for the four seconds after the
blow, while the process of the new spare starts, whenever that is, and from the blow until that is over. Prints one JSON
line. A quick look: `--hosts 2 --kills 1 --stops 1`.
"""

import argparse
import asyncio
import contextlib
import json
import os
import signal
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.room_load import RoomLoad, spread
from cluster.kernel.ids import chat_key
from cluster.placement.view import Member, View
from cluster.run.control import ask
from cluster.run.family import age_s
from cluster.run.installation import Installation
from tests.support.flow_process import FlowProcess

ROOMS, RATE = 40, 160.0
KILLS, STOPS = 5, 2
SETTLED_S, BEFORE_S, DURING_S = 1.5, 3.0, 4.0
_AFTER_S = 5.0
"""So that the next look at the fleet comes when the new spare is up and more."""
_STARTING_S = 1.0
"""Of a spare that is up sooner, this long is looked at all the same: what its start held up is answered later."""
_PATIENCE_S = 30.0
_LOOK_S = 1.0
"""Between two looks at the fleet: each costs the supervisor some milliseconds, which what is measured must not feel."""


async def status(flow: FlowProcess) -> dict[str, Any]:
    found: dict[str, Any] = await asyncio.to_thread(ask, Installation(flow.data).control_socket, "status")
    return found


async def until_whole(flow: FlowProcess, hosts: int) -> dict[str, int]:
    """Wait until every host runs and a standby waits; the hosts' process ids."""
    begun = time.monotonic()
    while time.monotonic() - begun < _PATIENCE_S:
        members = (await status(flow))["members"]
        running = {m["name"]: m["pid"] for m in members if m["kind"] == "host" and m["state"] == "running"}
        if len(running) == hosts and any(m["state"] == "standby" for m in members):
            return running
        await asyncio.sleep(_LOOK_S)
    raise AssertionError("the fleet did not become whole again")


async def spare_start(flow: FlowProcess) -> tuple[float, float]:
    """When the process that stands by now began and when it stood by, as `time.perf_counter` has it."""
    [process, *_] = [member for member in (await status(flow))["members"] if member["state"] == "standby"]
    began = time.perf_counter() - age_s(process["pid"])
    return began, began + process["ready_after_s"]


def standby_mb(found: dict[str, Any]) -> int:
    """What a standby costs: the resident memory of its process."""
    [pid, *_] = [member["pid"] for member in found["members"] if member["state"] == "standby"]
    return next(int(row["mb"]) for row in found["processes"] if row["pid"] == pid)


def rooms_of(hosts: int, name: str, room_ids: list[str]) -> set[str]:
    view = View(1, tuple(Member(f"host-{n}", "host", "i", "h:1", "n") for n in range(hosts)))
    return {room_id for room_id in room_ids if (owner := view.host_for(chat_key(room_id))) and owner.name == name}


class Blows:
    """Several blows at one Flow's hosts, and what was measured of each."""

    def __init__(self, flow: FlowProcess, load: RoomLoad, hosts: int) -> None:
        self._flow, self._load, self._hosts = flow, load, hosts
        self.again_s: list[float] = []
        self.before_ms: list[float] = []
        self.during_ms: list[float] = []
        self.starting_ms: list[float] = []
        self.repair_ms: list[float] = []
        self.spare_s: list[float] = []

    async def strike(self, number: signal.Signals) -> None:
        pids = await until_whole(self._flow, self._hosts)
        await asyncio.sleep(SETTLED_S + BEFORE_S)
        affected = rooms_of(self._hosts, "host-0", self._load.room_ids)
        others = set(self._load.room_ids) - affected
        struck = time.perf_counter()
        os.kill(pids["host-0"], number)
        await asyncio.sleep(DURING_S + _AFTER_S)
        if number is signal.SIGSTOP:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pids["host-0"], signal.SIGCONT)
        again = [self._load.answered_again_s(struck, room) for room in affected]
        self.again_s += [seconds if seconds is not None else float("inf") for seconds in again]
        self.before_ms += self._load.latencies_ms(struck - BEFORE_S, struck, others)
        self.during_ms += self._load.latencies_ms(struck, struck + DURING_S, others)
        await until_whole(self._flow, self._hosts)
        began, stands_by = await spare_start(self._flow)
        over = max(stands_by, began + _STARTING_S)
        self.starting_ms += self._load.latencies_ms(began, over, others)
        self.repair_ms += self._load.latencies_ms(struck, over, others)
        self.spare_s.append(stands_by - struck)

    def figures(self) -> dict[str, Any]:
        found: dict[str, Any] = {"answers_again_s": spread(self.again_s, 2), "spare_again_s": spread(self.spare_s, 1)}
        if self.before_ms:
            before, during, starting = spread(self.before_ms), spread(self.during_ms), spread(self.starting_ms)
            found |= {"others_before_ms": before, "others_during_ms": during}
            found["others_p99_ratio"] = round(during["p99"] / before["p99"], 2)
            found["others_while_spare_starts_ms"] = starting
            found["others_while_spare_starts_p99_ratio"] = round(starting["p99"] / before["p99"], 2)
            found["others_until_spare_is_up_ms"] = repair = spread(self.repair_ms)
            found["others_until_spare_is_up_p99_ratio"] = round(repair["p99"] / before["p99"], 2)
        return found


async def measure(flow: FlowProcess, hosts: int, kills: int, stops: int) -> dict[str, Any]:
    load = RoomLoad(flow, ROOMS, RATE)
    await load.start()
    await until_whole(flow, hosts)
    standby = standby_mb(await status(flow))
    killed, stopped = Blows(flow, load, hosts), Blows(flow, load, hosts)
    for _ in range(kills):
        await killed.strike(signal.SIGKILL)
    for _ in range(stops):
        await stopped.strike(signal.SIGSTOP)
    outcome = await load.stop()
    struck = {"kills": kills, "killed": killed.figures(), "stops": stops, "stopped": stopped.figures()}
    return {"standby_mb": standby, **struck, **outcome}


def run(directory: Path, kinds: tuple[int, ...] = (1, 2), kills: int = KILLS, stops: int = STOPS) -> dict[str, Any]:
    """On Flows of its own inside `directory`, one for each number of hosts in `kinds`."""
    result: dict[str, Any] = {"case": "failover", "rooms": ROOMS, "messages_per_s": RATE}
    for hosts in kinds:
        flow = FlowProcess(directory / f"of-{hosts}")
        flow.up("--no-recommender", "--hosts", str(hosts))
        try:
            result[f"one_of_{hosts}"] = asyncio.run(measure(flow, hosts, kills, stops))
        finally:
            flow.down()
    return result


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--hosts", type=int, action="append", help="how many hosts; may be given again (1 and 2)")
    parser.add_argument("--kills", type=int, default=KILLS)
    parser.add_argument("--stops", type=int, default=STOPS)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        print(json.dumps(run(Path(name), tuple(given.hosts or (1, 2)), given.kills, given.stops)))
