"""One collection's commands over the direct connections, with the client's own meaning of each.

Used by the client's collections that stand in the way of every message. What is written is acknowledged by a majority
with its journal and what is read is what a majority has, as everywhere in storage. Raises the driver's exceptions.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from bson.int64 import Int64
from pymongo import InsertOne, ReplaceOne

from storage.direct.answers import check, check_batch, check_one
from storage.direct.pool import DirectPool

Document = dict[str, Any]
Filter = Mapping[str, Any]
Sort = Sequence[tuple[str, int]]

_DURABLY: Final = {"w": "majority", "j": True}
_OF_A_MAJORITY: Final = {"level": "majority"}


class DirectCommands:
    def __init__(self, pool: DirectPool, database: str, name: str, timeout_ms: int) -> None:
        self._pool = pool
        self._name = name
        self._write = {"$db": database, "writeConcern": _DURABLY, "maxTimeMS": timeout_ms}
        self._read = {"$db": database, "readConcern": _OF_A_MAJORITY, "maxTimeMS": timeout_ms}

    @property
    def is_usable(self) -> bool:
        return self._pool.is_usable

    async def insert_one(self, document: Document) -> None:
        command = {"insert": self._name, **self._write}
        await self._pool.ask(check_one, command, "documents", [document])

    async def insert_many(self, documents: Sequence[Document], *, ordered: bool) -> None:
        """At least one."""
        command = {"insert": self._name, "ordered": ordered, **self._write}
        await self._pool.ask(check_batch, command, "documents", documents)

    @staticmethod
    def takes(operations: Sequence[Any]) -> bool:
        """Whether `bulk_write` does them: all are of one kind that is known here."""
        return bool(operations) and (
            all(type(one) is ReplaceOne for one in operations) or all(type(one) is InsertOne for one in operations)
        )

    async def bulk_write(self, operations: Sequence[Any], *, ordered: bool) -> tuple[int, int, int]:
        """How many were upserted, matched and modified, in one command."""
        if type(operations[0]) is InsertOne:
            await self.insert_many([one._doc for one in operations], ordered=ordered)  # noqa: SLF001 - it has no reader
            return 0, 0, 0
        updates = [
            {"q": one._filter, "u": one._doc, "upsert": bool(one._upsert)}  # noqa: SLF001
            for one in operations
        ]
        command = {"update": self._name, "ordered": ordered, **self._write}
        reply = await self._pool.ask(check_batch, command, "updates", updates)
        upserted = len(reply.get("upserted", ()))
        return upserted, int(reply["n"]) - upserted, int(reply["nModified"])

    async def update(self, filter_: Filter, update: Filter, *, upsert: bool, multi: bool) -> tuple[int, int]:
        """How many matched and changed."""
        wanted = {"q": filter_, "u": update, "upsert": upsert, "multi": multi}
        reply = await self._pool.ask(check_one, {"update": self._name, **self._write}, "updates", [wanted])
        return int(reply["n"]) - len(reply.get("upserted", ())), int(reply["nModified"])

    async def find(self, filter_: Filter, projection: Filter | None, sort: Sort, limit: int) -> list[Document]:
        """At most `limit` documents."""
        command: Document = {"find": self._name, "filter": filter_, "limit": limit, "batchSize": limit, **self._read}
        if projection is not None:
            command["projection"] = projection
        if sort:
            command["sort"] = dict(sort)
        return await self._rows(await self._pool.ask(check, command), limit)

    async def aggregate(self, pipeline: Sequence[Filter], limit: int) -> list[Document]:
        """The first `limit` documents of a pipeline that ends by itself."""
        command = {"aggregate": self._name, "pipeline": list(pipeline), "cursor": {"batchSize": limit + 1}}
        return await self._rows(await self._pool.ask(check, {**command, **self._read}), limit)

    async def _rows(self, reply: Document, limit: int) -> list[Document]:
        """What one reply cannot hold (16 MB) comes in more; what is left over is not left open on the server."""
        cursor = reply["cursor"]
        rows: list[Document] = cursor["firstBatch"]
        while cursor["id"] and len(rows) < limit:
            wanted = {"getMore": Int64(cursor["id"]), "collection": self._name, "$db": self._read["$db"]}
            cursor = (await self._pool.ask(check, wanted))["cursor"]
            rows += cursor["nextBatch"]
        if cursor["id"]:
            unwanted = {"killCursors": self._name, "cursors": [Int64(cursor["id"])], "$db": self._read["$db"]}
            await self._pool.ask(check, unwanted)
        return rows[:limit]
