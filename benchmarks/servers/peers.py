"""Socket.IO on Node, in memory or storing each message, and stock python-socketio: started, and ended, here."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from benchmarks.load.orders import Target
from benchmarks.processes import family
from benchmarks.servers.server import named, user_id
from tests.support.servers import MongoServer, free_port

_PEERS: Final = Path(__file__).parents[1] / "peers"


class Peer:
    """A `Server` of one process, with the database beside it when it stores."""

    def __init__(self, name: str, command: Sequence[str], database: MongoServer | None = None) -> None:
        self.name = name
        self.settings: dict[str, Any] = {}
        self._port = free_port()
        self._database = database
        self._made = 0
        environment = {**os.environ, "NODE_ENV": "production"}
        environment.pop("MONGODB_URI", None)
        if database is not None:
            environment["MONGODB_URI"] = database.uri
        self._process = subprocess.Popen([*command, str(self._port)], stdout=subprocess.PIPE, env=environment)
        assert self._process.stdout is not None
        if self._process.stdout.readline().strip() != b"ready":
            raise RuntimeError(f"{name} did not start: {' '.join(command)}")

    def target(self, *, deflate: bool = False) -> Target:
        return Target("127.0.0.1", self._port, deflate)

    def auth(self, number: int) -> dict[str, Any]:
        return {"userId": user_id(number)}

    def people(self, numbers: Sequence[int]) -> None:
        """A peer takes anybody."""

    def rooms(self, members: Sequence[Sequence[int]]) -> list[str]:
        first, self._made = self._made, self._made + len(members)
        return [f"{2:08x}{first + number:016x}" for number in range(len(members))]

    def roles(self) -> dict[int, str]:
        found = dict.fromkeys(family(self._process.pid), "server")
        return found if self._database is None else {**found, self._database.pid: "mongod"}

    def close(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()


@contextlib.contextmanager
def node() -> Iterator[Peer]:
    """Socket.IO on Node with its in-memory adapter."""
    with contextlib.closing(Peer("node, in memory", ["node", str(_PEERS / "socketio.mjs")])) as peer, named(peer):
        yield peer


@contextlib.contextmanager
def node_durable(database: MongoServer) -> Iterator[Peer]:
    """The same, each message stored with majority and journal before it is told and acked."""
    command = ["node", str(_PEERS / "socketio.mjs")]
    with contextlib.closing(Peer("node, durable", command, database)) as peer, named(peer):
        yield peer


@contextlib.contextmanager
def stock_python() -> Iterator[Peer]:
    """Stock python-socketio on aiohttp and uvloop."""
    command = [sys.executable, "-m", "benchmarks.peers.stock_socketio"]
    with contextlib.closing(Peer("python-socketio", command)) as peer, named(peer):
        yield peer
