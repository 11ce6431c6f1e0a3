"""10,000 people race for 500 places through three edges while the event's host is killed (kill -9).

A Flow of its own with three edges and two hosts; everyone asks over HTTP and asks again when told to, until there is an
answer. Afterwards twenty who go change their minds. The answers are held against the database: 500 go, each with a seat
of their own, the rest wait in the order in which they were accepted, and the first twenty of the line have moved up.
`order_violations` counts people behind somebody who asked only after they had been answered, and places whose times of
acceptance go back.
"""

import asyncio
import json
import os
import random
import signal
import tempfile
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import aiohttp
import pymongo

from benchmarks.percentiles import percentile
from cluster.kernel.clock import SystemClock
from cluster.kernel.ids import event_key
from cluster.run import attached
from cluster.run.edge_wiring import token_settings
from cluster.run.installation import Installation
from realtime.auth import TokenService
from tests.support.flow_process import FlowProcess, Person, new_event

PEOPLE, PLACES, CHANGES = 10_000, 500, 20
AT_ONCE = 600
KILL_AFTER = 1_000
TIMEOUT_S = 120.0
SETTINGS = """
flow:
  hosts: 2
  edges: 3
  recommender: false
  http:
    trusted_proxies: 1
"""
"""A proxy in front says where each person is: from one address alone the edges would refuse such a crowd."""


@dataclass
class Racer:
    id: str
    token: str
    address: str
    asked_at: float = 0.0
    answered_at: float = 0.0
    tries: int = 0
    status: str = ""


class Race:
    def __init__(self, event_id: str, racers: list[Racer], http: aiohttp.ClientSession) -> None:
        self._event_id = event_id
        self._racers = racers
        self._http = http
        self._gate = asyncio.Semaphore(AT_ONCE)
        self._answered = 0
        self._may_kill = asyncio.Event()

    async def run(self, victim: int) -> None:
        """`victim` is the process that is killed in the middle."""
        async with asyncio.timeout(TIMEOUT_S), asyncio.TaskGroup() as group:
            group.create_task(self._kill(victim))
            for racer in self._racers:
                group.create_task(self._take_part(racer))

    async def _kill(self, victim: int) -> None:
        await self._may_kill.wait()
        os.kill(victim, signal.SIGKILL)

    async def _take_part(self, racer: Racer) -> None:
        async with self._gate:
            racer.asked_at = time.perf_counter()
            racer.status = await self.answer(racer, "going")
            racer.answered_at = time.perf_counter()
        self._answered += 1
        if self._answered >= KILL_AFTER:
            self._may_kill.set()

    async def answer(self, racer: Racer, status: str) -> str:
        """The event's answer, however often it takes."""
        headers = {"Authorization": f"Bearer {racer.token}", "X-Forwarded-For": racer.address}
        while True:
            racer.tries += 1
            path, wait_ms = f"/v1/events/{self._event_id}/rsvp", 200
            try:
                async with self._http.post(path, json={"status": status}, headers=headers) as response:
                    body = await response.json()
                    if response.status == 200:
                        return str(body["status"])
                    assert body["retryable"], body
                    wait_ms = body.get("retryAfterMs", wait_ms)
            except aiohttp.ClientConnectionError:
                pass
            await asyncio.sleep(wait_ms / 1000 * random.uniform(1.0, 2.0))


def _people(found: attached.Attachment) -> list[Racer]:
    """Made in the database: 10,000 registrations would measure the hashing of passwords."""
    tokens = TokenService(token_settings(found.settings, found.secrets, 900), SystemClock())
    racers = []
    for number in range(PEOPLE):
        user_id = f"d{number:023x}"
        token, _ = tokens.issue(user_id, f"racer{number}", "f" * 24)
        racers.append(Racer(user_id, token, f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}"))
    profile = {"name": "Racer", "avatar": "", "bio": "", "traits": [], "interests": []}
    rows = [
        {
            "_id": racer.id,
            "username": f"racer{number}",
            "usernameLower": f"racer{number}",
            "email": None,
            "passwordHash": "!",
            "profile": profile,
            "gamification": {"points": 0, "rating": 0.0},
            "preferences": {"notifications": {}, "privacy": {}},
            "roles": [],
            "createdAt": datetime.now(UTC),
        }
        for number, racer in enumerate(racers)
    ]
    with pymongo.MongoClient(found.storage.uri) as client:
        client[found.storage.database].users.insert_many(rows)
    return racers


async def _owner(found: attached.Attachment, event_id: str) -> str:
    async with attached.opened(found) as storage:
        view = await storage.view_store.load()
    assert view is not None
    owner = view.host_for(event_key(event_id))
    assert owner is not None
    return owner.name


def _rows(found: attached.Attachment, event_id: str, status: str) -> list[dict[str, Any]]:
    with pymongo.MongoClient(found.storage.uri) as client:
        return list(client[found.storage.database].rsvps.find({"event_id": event_id, "status": status}))


def order_violations(line: list[dict[str, Any]], going: list[dict[str, Any]], racers: dict[str, Racer]) -> int:
    """In the order of seats and then of places, nobody stands behind one who asked after they had their answer."""
    ordered = sorted(going, key=lambda row: row["seat"]) + line
    violations = sum(later["at_ms"] < earlier["at_ms"] for earlier, later in pairwise(line))
    latest_asked = 0.0
    for row in ordered:
        racer = racers[row["user_id"]]
        violations += racer.answered_at < latest_asked
        latest_asked = max(latest_asked, racer.asked_at)
    return violations


async def measure(flow: FlowProcess, data: Path) -> dict[str, Any]:
    found = attached.attachment(Installation(data))
    racers = _people(found)
    organizer = await Person.register(flow)
    event_id = (await organizer.call_http("POST", "/v1/events", new_event(capacity={"max": PLACES})))["id"]
    await organizer.close()
    victim = await _owner(found, event_id)
    pid = flow.pid(victim)
    connector = aiohttp.TCPConnector(limit=AT_ONCE)
    async with aiohttp.ClientSession(flow.url, connector=connector) as http:
        race = Race(event_id, racers, http)
        started = time.perf_counter()
        await race.run(pid)
        elapsed = time.perf_counter() - started
        going, waiting = _rows(found, event_id, "going"), _rows(found, event_id, "waiting")
        line = sorted(waiting, key=lambda row: row["place"])
        by_id = {racer.id: racer for racer in racers}
        leaving = random.Random(7).sample(going, CHANGES)
        for row in leaving:
            assert await race.answer(by_id[row["user_id"]], "declined") == "declined"
    after = {row["user_id"] for row in _rows(found, event_id, "going")}
    left = {row["user_id"] for row in leaving}
    moved_up = [row["user_id"] for row in line[:CHANGES]]
    took = [(racer.answered_at - racer.asked_at) * 1000 for racer in racers]
    told = {racer.id: racer.status for racer in racers}
    return {
        "case": "seats",
        "people": PEOPLE,
        "places": PLACES,
        "going": len(going),
        "waiting": len(waiting),
        "seats_taken_twice": len(going) - len({row["seat"] for row in going}),
        "answers_that_differ_from_storage": sum(told[row["user_id"]] != row["status"] for row in going + waiting),
        "order_violations": order_violations(line, going, by_id),
        "promoted_in_order": after == {row["user_id"] for row in going} - left | set(moved_up),
        "killed": victim,
        "asked_again": sum(racer.tries - 1 for racer in racers),
        "seconds": round(elapsed, 1),
        "answer_ms_p50": round(percentile(took, 0.5), 1),
        "answer_ms_p99": round(percentile(took, 0.99), 1),
        "longest_answer_ms": round(max(took), 1),
    }


def run(directory: Path) -> dict[str, Any]:
    settings = directory / "settings.yaml"
    settings.write_text(SETTINGS)
    flow = FlowProcess(directory / "flow")
    flow.up("--config", str(settings))
    try:
        return asyncio.run(measure(flow, flow.data))
    finally:
        flow.down()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        print(json.dumps(run(Path(name))))
