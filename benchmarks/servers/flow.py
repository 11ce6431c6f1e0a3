"""Flow itself as a person starts it: `flow up`, with edges, hosts, Ray and Redis in their processes, and MongoDB."""

import asyncio
import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import pymongo
import yaml

from benchmarks.load.orders import Target
from benchmarks.processes import family
from benchmarks.servers.seeding import DATABASE, make_models, seed_people, seed_rooms
from benchmarks.servers.server import named, user_id
from cluster.kernel.clock import SystemClock
from cluster.run import secrets
from cluster.run.edge_wiring import token_settings
from cluster.run.settings import Settings
from realtime.auth import TokenService
from tests.support.flow_process import FlowProcess
from tests.support.servers import MongoServer

_TOKEN_LIFETIME_S: Final = 86_400

GENEROUS: Final[dict[str, Any]] = {
    "rates": {"chat:send_message": {"per_second": 10_000, "burst": 10_000}},
    "requests_per_socket": {"per_second": 10_000, "burst": 10_000},
    "connections_per_address": {"per_second": 20_000, "burst": 20_000},
}
"""Admission that lets one generator in and lets few sockets ask for much; everything else is as it comes."""


class Flow:
    """A `Server`. Durable: an ack, and every delivery, comes after a majority has journalled the message."""

    def __init__(self, process: FlowProcess, database: MongoServer, settings: dict[str, Any]) -> None:
        self.name = "flow"
        self.process = process
        self.settings = settings
        self._database = database
        found = secrets.load(dict(os.environ), process.data, development=True, create=False)
        self._tokens = TokenService(token_settings(Settings(), found, _TOKEN_LIFETIME_S), SystemClock())
        self._made = 0
        self._known: set[int] = set()
        asyncio.run(make_models(database.uri))

    def target(self, *, deflate: bool = False) -> Target:
        return Target("127.0.0.1", self.process.port, deflate)

    def private_target(self, name: str) -> Target:
        """One edge's own port, which a load balancer would use; the public one is shared by all edges."""
        with pymongo.MongoClient(self._database.uri) as client:
            document: Any = client[DATABASE]["cluster_state"].find_one({"_id": "view"})
        [member] = [member for member in document["view"]["members"] if member["name"] == name]
        host, _, port = member["address"].rpartition(":")
        return Target(host, int(port))

    def auth(self, number: int) -> dict[str, Any]:
        token, _ = self._tokens.issue(user_id(number), f"bench{number}", f"session-{number}")
        return {"token": token}

    def people(self, numbers: Sequence[int]) -> None:
        seed_people(self._database.uri, [number for number in dict.fromkeys(numbers) if number not in self._known])
        self._known.update(numbers)

    def rooms(self, members: Sequence[Sequence[int]]) -> list[str]:
        self.people([number for people in members for number in people])
        first, self._made = self._made, self._made + len(members)
        ids = [f"{2:08x}{first + number:016x}" for number in range(len(members))]
        seed_rooms(self._database.uri, list(zip(ids, members, strict=True)))
        return ids

    def roles(self) -> dict[int, str]:
        """Everything that `flow up` started, and the MongoDB it was given."""
        named = {part["pid"]: part["name"].partition("-")[0] for part in self.process.status()["processes"]}
        found: dict[int, str] = {}
        for pid in named:
            found.update(dict.fromkeys(family(pid), "rest"))
        return {**found, **named, self._database.pid: "mongod"}


@contextlib.contextmanager
def flow(
    directory: Path, database: MongoServer, *, edges: int = 1, hosts: int = 1, settings: Mapping[str, Any] | None = None
) -> Iterator[Flow]:
    """Up on an empty database, with `settings` over what it comes with, and down again."""
    with pymongo.MongoClient(database.uri) as client:
        client.drop_database(DATABASE)
    chosen: dict[str, Any] = {"edge": GENEROUS, **(settings or {})}
    path = directory / "bench.yaml"
    path.write_text(yaml.safe_dump({"flow": chosen}))
    process = FlowProcess(directory / "flow", MONGODB_URI=database.uri)
    process.up("--no-recommender", "--config", str(path), "--edges", str(edges), "--hosts", str(hosts))
    try:
        with named(Flow(process, database, chosen)) as running:
            yield running
    finally:
        process.down()
