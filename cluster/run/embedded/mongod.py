"""The embedded MongoDB: one mongod, a replica set of one, on a Unix socket only.

A replica set of one gives what Flow needs of a real one: transactions, majority writes, a journal. It listens on no
network at all, so who may use it is decided by the directory of its socket. Survives kill -9: a stale lock is mongod's
own to clear and the journal brings back every acknowledged write. When the data directory was moved, the socket's path
in the stored configuration is corrected.
"""

import logging
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

from pymongo import AsyncMongoClient
from pymongo.errors import OperationFailure, PyMongoError

from cluster.run.embedded import binaries

_log = logging.getLogger("flow.embedded")

_REPLICA_SET = "flow"
_PORT = 27017  # only part of the socket's name
_NOT_YET_INITIALIZED = 94
_ANSWER_TIMEOUT_MS = 2_000


class Mongod:
    """A `Program` for `EmbeddedServer`."""

    name = "MongoDB"

    def __init__(self, data: Path, runtime: Path, log: Path, cache_gb: float) -> None:
        self._directory = data / "mongodb"
        self._runtime = runtime
        self._log = log
        self._cache_gb = cache_gb
        self._socket = runtime / f"mongodb-{_PORT}.sock"

    @property
    def directory(self) -> Path:
        return self._directory

    @property
    def url(self) -> str:
        return f"mongodb://{quote(str(self._socket), safe='')}/?directConnection=true"

    def command(self) -> Sequence[str]:
        return [
            str(binaries.find("mongod")),
            *("--dbpath", str(self._directory)),
            *("--replSet", _REPLICA_SET),
            *("--bind_ip", str(self._socket)),
            *("--port", str(_PORT)),
            *("--unixSocketPrefix", str(self._runtime)),
            *("--filePermissions", "0600"),
            *("--wiredTigerCacheSizeGB", f"{self._cache_gb:g}"),
            *("--oplogSize", "64"),
            *("--logpath", str(self._log), "--logappend", "--quiet"),
            *("--setParameter", "diagnosticDataCollectionEnabled=false"),
            # A process that dies in the middle of one is undone by whoever follows it; this is for the rest.
            *("--setParameter", "transactionLifetimeLimitSeconds=10"),
            *("--setParameter", "shutdownTimeoutMillisForSignaledShutdown=100"),
        ]

    async def answers(self) -> bool:
        """Whether it is the primary; it is made one on the way."""
        client: AsyncMongoClient[dict[str, object]] = AsyncMongoClient(
            self.url, serverSelectionTimeoutMS=_ANSWER_TIMEOUT_MS, connectTimeoutMS=_ANSWER_TIMEOUT_MS
        )
        try:
            hello = await client.admin.command("hello")
            if hello.get("isWritablePrimary"):
                return True
            await self._configure(client)
        except PyMongoError as error:
            _log.debug("MongoDB does not answer yet: %s", error)
        finally:
            await client.close()
        return False

    async def _configure(self, client: "AsyncMongoClient[dict[str, object]]") -> None:
        """Make it a replica set of one, under the socket's path of today."""
        member = {"_id": 0, "host": str(self._socket)}
        try:
            reply = await client.admin.command("replSetGetConfig")
        except OperationFailure as error:
            if error.code != _NOT_YET_INITIALIZED:
                raise
            await client.admin.command("replSetInitiate", {"_id": _REPLICA_SET, "members": [member]})
            return
        configuration = reply["config"]
        if configuration["members"][0]["host"] != member["host"]:
            configuration["members"] = [member]
            configuration["version"] += 1
            await client.admin.command("replSetReconfig", configuration, force=True)
