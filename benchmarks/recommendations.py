"""`make bench-recs`: recommendations over many live events, through a whole Flow with two replicas of the recommender.

Writes events and people straight into the database of a Flow of its own, trains a short two-tower model on made-up
interactions, and asks over HTTP as clients do. Cold means that nothing is kept of the person who asks: every request is
somebody else's, and an answer counts only when the whole pipeline made it (not marked `fallback`). Prints one line.
"""

import asyncio
import json
import random
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

import aiohttp
import numpy as np
import psutil
import typer
import yaml

from benchmarks.percentiles import percentile
from cluster.kernel.clock import SystemClock
from cluster.kernel.ids import new_id
from cluster.run import attached
from cluster.run.edge_wiring import token_settings
from cluster.run.installation import Installation
from realtime.auth import TokenService
from serve_apps.retrieval import best_rows
from storage.client import Database
from storage.dates import to_date
from tests.support.flow_process import FlowProcess

TOPICS = [f"topic-{number}" for number in range(60)]
BATCH = 1_000
RATE = 50
SECONDS = 20.0
CLIENTS = 48
WARM_UP = 100
SHOWN = 20
EVERYTHING = 100
"""The most one may ask for; so long a list is not kept, so it is made anew for whoever asks."""
PATIENCE_S = 30.0


def configuration(directory: Path, replicas: int) -> Path:
    """The settings that come with Flow, with the replicas asked for and room for one address to ask a lot."""
    document = yaml.safe_load(Path("ray_config.yaml").read_text())
    document["flow"].setdefault("http", {})["requests_per_address"] = {"per_second": 100_000.0, "burst": 100_000}
    document["applications"][0]["deployments"][0]["num_replicas"] = replicas
    path = directory / "bench.yaml"
    path.write_text(yaml.safe_dump(document))
    return path


async def fill(database: Database, events: int, people: int) -> tuple[list[str], list[str]]:
    """Write them; returns the ids of the events and of the people."""
    chance = random.Random(1)
    now_ms = time.time_ns() // 1_000_000
    event_ids, user_ids = [new_id() for _ in range(events)], [new_id() for _ in range(people)]
    await _insert(database, "events", [_event(event_id, chance, now_ms) for event_id in event_ids])
    await _insert(database, "users", [_user(user_id, chance, now_ms) for user_id in user_ids])
    friends, plans, actions = [], [], []
    for number, user_id in enumerate(user_ids):
        for friend in chance.sample(user_ids, 3):
            row = {"_id": f"{user_id}/{friend}", "user_id": user_id, "friend_id": friend, "kind": "friend", "at_ms": 0}
            friends.append(row)
        if number % 2:
            event_id = chance.choice(event_ids)
            plans.append(
                {
                    "_id": f"{event_id}/{user_id}",
                    "event_id": event_id,
                    "user_id": user_id,
                    "status": "interested",
                    "epoch": 0,
                    "at_ms": now_ms - chance.randrange(10**9),
                }
            )
        for event_id in chance.sample(event_ids, 2):
            at_ms = now_ms - chance.randrange(10**9)
            actions.append({"user_id": user_id, "event_id": event_id, "action": "click", "weight": 0.5, "at_ms": at_ms})
    await _insert(database, "friendships", friends)
    await _insert(database, "rsvps", plans)
    await _insert(database, "interactions", actions)
    return event_ids, user_ids


async def _insert(database: Database, name: str, rows: Sequence[dict[str, Any]]) -> None:
    collection = database.collection(name)
    for start in range(0, len(rows), BATCH):
        batch = rows[start : start + BATCH]
        for row in batch if name == "events" else ():
            row["updatedAt"] = to_date(time.time_ns() // 1_000_000)  # replicas read what changed since they looked
        await collection.insert_many(batch, ordered=False)


def _event(event_id: str, chance: random.Random, now_ms: int) -> dict[str, Any]:
    start = now_ms + chance.randrange(1, 60 * 24) * 3_600_000
    place = [13.4 + chance.gauss(0, 1.5), 52.5 + chance.gauss(0, 0.8)]
    published = to_date(now_ms - chance.randrange(10**9))
    return {
        "_id": event_id,
        "title": f"{chance.choice(TOPICS)} {chance.choice(TOPICS)} night",
        "description": "",
        "category": chance.choice(TOPICS),
        "tags": chance.sample(TOPICS, 3),
        "organizer": {"id": f"{chance.randrange(5_000):024x}", "name": "O", "type": "individual"},
        "datetime": {"start": to_date(start), "end": to_date(start + 7_200_000), "timezone": "UTC"},
        "location": {"type": "Point", "coordinates": place},
        "pricing": {"type": "paid", "amount": chance.randrange(50)},
        "capacity": {"max": None},
        "visibility": "public",
        "requirements": {},
        "media": {"images": [], "videos": []},
        "room": {"epoch": 0},
        "createdAt": published,
        "updatedAt": published,
    }


def _user(user_id: str, chance: random.Random, now_ms: int) -> dict[str, Any]:
    place = {"type": "Point", "coordinates": [13.4 + chance.gauss(0, 1.0), 52.5 + chance.gauss(0, 0.5)]}
    profile = {
        "name": "N",
        "avatar": "",
        "bio": "",
        "traits": [],
        "interests": chance.sample(TOPICS, 4),
        "location": place,
    }
    return {
        "_id": user_id,
        "username": user_id,
        "usernameLower": user_id,
        "email": None,
        "passwordHash": "!",
        "profile": profile,
        "gamification": {"points": 0, "rating": 0.0},
        "preferences": {"notifications": {}, "privacy": {}},
        "roles": [],
        "createdAt": to_date(now_ms),
        "updatedAt": to_date(now_ms),
    }


async def train(flow: FlowProcess, uri: str, database: str) -> str:
    """A short run: what a request costs does not depend on how good the model is."""
    from serve_apps.registry import ModelRegistry
    from serve_apps.training.job import Run, train_and_publish
    from serve_apps.training.settings import TrainingSettings, TwoTowerSettings
    from storage.training_data import open_training_data

    registry = ModelRegistry(Installation(flow.data).models)
    data = await open_training_data(uri, database)
    try:
        short = TwoTowerSettings(epochs_without_split=1, rows_per_epoch=20_000)
        settings = TrainingSettings(min_people_to_split=10**9, most_item_to_item=1_000, two_tower=short)
        outcome = await train_and_publish(data, registry, Run(settings, promote=False))
    finally:
        await data.close()
    registry.promote(outcome.manifest.version)
    return outcome.manifest.version


class Clients:
    """People who ask, each with a token of their own."""

    def __init__(self, flow: FlowProcess, http: aiohttp.ClientSession, tokens: TokenService) -> None:
        self._url = f"{flow.url}/v1/recommendations"
        self._http = http
        self._tokens = tokens
        self.fallbacks = 0

    async def ask(self, user_id: str, limit: int = SHOWN) -> tuple[float, dict[str, Any]]:
        """Milliseconds, and the answer."""
        token, _ = self._tokens.issue(user_id, user_id, "bench")
        started = time.perf_counter()
        url = f"{self._url}?limit={limit}"
        async with self._http.get(url, headers={"Authorization": f"Bearer {token}"}) as response:
            content = await response.read()
        took = (time.perf_counter() - started) * 1000
        assert response.status == 200, content
        answer: dict[str, Any] = json.loads(content)
        self.fallbacks += answer["fallback"]
        return took, answer

    async def open_loop(self, user_ids: Sequence[str], rate: float, seconds: float) -> list[float]:
        """One request every 1/rate seconds, whether or not the one before was answered."""
        begun = time.perf_counter()
        asking = []
        for number in range(int(rate * seconds)):
            await asyncio.sleep(max(0.0, begun + number / rate - time.perf_counter()))
            asking.append(asyncio.ensure_future(self.ask(user_ids[number % len(user_ids)])))
        return [took for took, _ in await asyncio.gather(*asking)]

    async def closed_loop(self, user_ids: Sequence[str], seconds: float) -> float:
        """Answers of the whole pipeline a second with many waiting at once; for as long as there are people to ask."""
        until = time.perf_counter() + seconds
        users = iter(user_ids)
        good = 0

        async def client() -> None:
            nonlocal good
            while time.perf_counter() < until and (user_id := next(users, None)) is not None:
                _, answer = await self.ask(user_id)
                good += not answer["fallback"]

        started = time.perf_counter()
        await asyncio.gather(*(client() for _ in range(CLIENTS)))
        return good / (time.perf_counter() - started)


async def ready(clients: Clients, user_ids: Sequence[str], version: str) -> float:
    """Seconds until the model answers for everybody."""
    started = time.perf_counter()
    good = 0
    for user_id in _around(user_ids):
        _, answer = await clients.ask(user_id)
        good = good + 1 if answer["modelVersion"] == version and not answer["fallback"] else 0
        if good >= WARM_UP:
            return time.perf_counter() - started
        await asyncio.sleep(0.0 if good else 0.5)
    raise AssertionError("people ran out before the model answered")


def _around(user_ids: Sequence[str]) -> Iterator[str]:
    while True:
        yield from user_ids


def replicas_memory() -> list[float]:
    """MB of each replica, shared pages counted by their share."""
    return [
        process.memory_full_info().pss / 1e6
        for process in psutil.process_iter(["cmdline"])
        if any("ServeReplica:recommender" in part for part in process.info["cmdline"] or ())
    ]


async def published_to_recommended(
    database: Database, clients: Clients, user_ids: Sequence[str], people: int = 5
) -> dict[str, float]:
    """The longest of some seconds from an event's being stored to its being recommended to whom it suits.

    Twice: in a whole list, which is made anew each time, and among the first that are shown to somebody whose list was
    kept a moment before.
    """
    worst = {"answered": 0.0, "shown": 0.0}
    chance = random.Random(9)
    for user_id in user_ids[:people]:
        user = await database.collection("users").find_one({"_id": user_id})
        assert user is not None
        await clients.ask(user_id)
        event = _event(new_id(), chance, time.time_ns() // 1_000_000)
        event["tags"], event["category"] = user["profile"]["interests"][1:], user["profile"]["interests"][0]
        event["location"] = user["profile"]["location"]
        event["createdAt"] = event["updatedAt"] = to_date(time.time_ns() // 1_000_000)
        await database.collection("events").insert_one(event)
        started = time.perf_counter()
        answered, shown = await asyncio.gather(
            _seconds_until(clients, user_id, event["_id"], EVERYTHING, started),
            _seconds_until(clients, user_id, event["_id"], SHOWN, started),
        )
        worst = {"answered": max(worst["answered"], answered), "shown": max(worst["shown"], shown)}
    return {name: round(seconds, 2) for name, seconds in worst.items()}


async def _seconds_until(clients: Clients, user_id: str, event_id: str, limit: int, started: float) -> float:
    while True:
        _, answer = await clients.ask(user_id, limit)
        took = time.perf_counter() - started
        if event_id in {item["id"] for item in answer["items"]} or took > PATIENCE_S:
            return took
        await asyncio.sleep(0.1)


def agreement(events: int) -> float:
    """The share of an exact sort's best 150 that retrieval finds, over vectors as long as the model's."""
    generator = np.random.default_rng(4)
    vectors = generator.normal(size=(events, 65)).astype(np.float32)
    queries = generator.normal(size=(20, 65)).astype(np.float32)
    found = 0
    for scores in queries @ vectors.T:
        exact = np.argsort(-scores, kind="stable")[:150]
        found += np.intersect1d(best_rows(scores, 150), exact).size
    return found / (20 * 150)


@asynccontextmanager
async def opened(flow: FlowProcess) -> AsyncIterator[tuple[Database, Clients, str]]:
    found = attached.attachment(Installation(flow.data))
    database = Database(found.storage)
    tokens = TokenService(token_settings(found.settings, found.secrets, 3_600), SystemClock())
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as http:
        yield database, Clients(flow, http, tokens), found.storage.uri
    await database.close()


async def measure(flow: FlowProcess, events: int, people: int) -> dict[str, Any]:
    async with opened(flow) as (database, clients, uri):
        event_ids, user_ids = await fill(database, events, people)
        version = await train(flow, uri, attached.attachment(Installation(flow.data)).storage.database)
        warming = user_ids[:1_000]
        seconds = await ready(clients, warming, version)
        cold = iter(user_ids[1_000:])
        clients.fallbacks = 0
        at_rate = await clients.open_loop([next(cold) for _ in range(int(RATE * SECONDS))], RATE, SECONDS)
        fallbacks = clients.fallbacks
        saturated = await clients.closed_loop(list(cold), SECONDS / 2)
        some = warming[:200]
        for user_id in some:
            await clients.ask(user_id)
        cached = await clients.open_loop(some, RATE, SECONDS / 2)
        return {
            "case": "recommendations",
            "events": len(event_ids),
            "people": people,
            "ready_s": round(seconds, 1),
            "cold_ms_p50": round(percentile(at_rate, 0.5), 1),
            "cold_ms_p95": round(percentile(at_rate, 0.95), 1),
            "cold_ms_p99": round(percentile(at_rate, 0.99), 1),
            "cold_fallbacks": fallbacks,
            "saturated_per_s": round(saturated, 1),
            "cached_ms_p50": round(percentile(cached, 0.5), 1),
            "cached_ms_p95": round(percentile(cached, 0.95), 1),
            "agreement_with_exact": agreement(events),
            "replica_memory_mb": [round(one) for one in replicas_memory()],
            "published_to_recommended_s": await published_to_recommended(database, clients, warming),
        }


def main(
    events: Annotated[int, typer.Option(help="Live events.")] = 100_000,
    people: Annotated[int, typer.Option(help="People.")] = 100_000,
    replicas: Annotated[int, typer.Option(help="Replicas of the recommender.")] = 2,
) -> None:
    """Measure recommendations on a Flow of its own."""
    with tempfile.TemporaryDirectory() as name:
        flow = FlowProcess(Path(name))
        flow.up("--config", str(configuration(Path(name), replicas)))
        try:
            print(json.dumps(asyncio.run(measure(flow, events, people))))
        finally:
            flow.down()


if __name__ == "__main__":
    typer.run(main)
