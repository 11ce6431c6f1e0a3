"""The door to MongoDB: Motor for most of it, connections of the event loop's own for what every message waits for.

The only file that knows Motor; beside it `driver_errors.py` and `direct/` use what PyMongo gives both. Every
collection of `storage/` works through `Collection`. It promises that writes are acknowledged by a majority with their
journal, that reads see only what a majority has, that every call ends within the operation timeout, and that only
FlowError, `Duplicate` and `BatchRefused` come out of it for what a database may do. Reads are bounded by `limit`. It
never decides what an error means for a chat room or an event.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final, cast

from bson.binary import UUID_SUBTYPE, Binary
from bson.codec_options import CodecOptions, TypeDecoder, TypeRegistry
from bson.int64 import Int64
from pymongo import DeleteOne, InsertOne, ReplaceOne, ReturnDocument, UpdateOne, timeout
from pymongo.errors import ConfigurationError, InvalidURI, OperationFailure
from pymongo.read_concern import ReadConcern

from cluster.kernel import environment
from cluster.kernel.errors import START_FAILED, FlowError
from storage.direct.commands import DirectCommands
from storage.direct.connection import Address
from storage.direct.login import Login
from storage.direct.pool import DirectPool
from storage.driver_errors import BatchRefused, Conflict, Duplicate, answers
from storage.gate import Gate
from storage.settings import StorageSettings

__all__ = [
    "BatchRefused",
    "Collection",
    "Conflict",
    "Database",
    "DeleteOne",
    "Duplicate",
    "InsertOne",
    "ReplaceOne",
    "Session",
    "Transaction",
    "UpdateOne",
]

_WARM: Final = 8
"""Direct connections of a host that stands by: as many rooms are claimed at once when it takes a name."""

Document = dict[str, Any]
Filter = Mapping[str, Any]
Sort = Sequence[tuple[str, int]]

_INDEX_CONFLICTS: Final = frozenset({85, 86})


class _PlainIntegers(TypeDecoder):
    """The driver gives 64-bit integers a type of its own, which msgpack and JSON refuse; here they are plain ints."""

    bson_type = Int64

    def transform_bson(self, value: Any) -> int:
        return int(value)


_NAMESPACE_EXISTS: Final = 48
_TYPES: Final = TypeRegistry([_PlainIntegers()])


class Database:
    """One client of one process and event loop. Nothing connects before the first operation."""

    def __init__(self, settings: StorageSettings) -> None:
        """Raises FlowError START_FAILED when the address is not one that MongoDB understands."""
        # The driver runs its work in threads and reads their number once, when it is first imported.
        environment.set_default("MOTOR_MAX_WORKERS", str(settings.pool_size))
        from motor.motor_asyncio import AsyncIOMotorClient

        try:
            self._client: Any = AsyncIOMotorClient(
                settings.uri,
                appname="flow",
                maxPoolSize=settings.pool_size,
                serverSelectionTimeoutMS=settings.server_selection_timeout_ms,
                timeoutMS=settings.operation_timeout_ms,
                retryWrites=True,
                w="majority",
                journal=True,
                readConcernLevel="majority",
                readPreference="primary",
                tz_aware=True,
                type_registry=_TYPES,
            )
        except (InvalidURI, ConfigurationError, ValueError) as error:
            raise FlowError(START_FAILED, "The MongoDB address is not one that MongoDB understands.") from error
        self._database = self._client[settings.database]
        self._direct = _direct_pool(self._client.delegate, settings)
        self._timeout_ms = settings.operation_timeout_ms
        self._ping_ms = settings.server_selection_timeout_ms
        self._gate = Gate(
            slots=settings.pool_size,
            most_waiting=settings.most_waiting,
            wait_ms=settings.operation_timeout_ms,
        )

    def collection(self, name: str, *, linearizable: bool = False, direct: bool = False) -> "Collection":
        """`linearizable` reads also prove that the server is still the primary, at the price of a round of its own.
        `direct` is for what stands in the way of every message: where it can be, its commands take the event loop's own
        connections instead of the driver's threads; the driver then does not try a write again by itself."""
        concern = ReadConcern("linearizable" if linearizable else "majority")
        commands = None
        if direct and self._direct is not None:
            commands = DirectCommands(self._direct, self._database.name, name, self._timeout_ms)
        return Collection(self._database.get_collection(name, read_concern=concern), name, self._gate, commands)

    async def ensure_view(self, name: str, of: str, pipeline: Sequence[Filter]) -> None:
        """`name` is read like a collection and gives what the pipeline makes of `of`; one that exists is changed."""
        definition: dict[str, Any] = {"viewOn": of, "pipeline": list(pipeline)}
        with answers("view"):
            try:
                await self._database.command("create", name, **definition)
            except OperationFailure as error:
                if error.code != _NAMESPACE_EXISTS:
                    raise
                await self._database.command("collMod", name, **definition)

    async def open_session(self) -> "Session":
        """For transactions, one after the other. The database must have answered before."""
        return Session(await self._client.start_session())

    @asynccontextmanager
    async def transaction(self, session: "Session") -> AsyncIterator["Transaction"]:
        """What is done with it takes effect when the block ends, all of it at once, or not at all.

        Waits for the session's transaction before. Raises `Conflict`, from anywhere in the block, when another writer
        was in the way, and FlowError UNAVAILABLE when the database is away; from the block's end the outcome is then
        unknown, as after any write.
        """
        async with session.turn:
            with answers("transaction"):
                async with session.driver.start_transaction():
                    yield Transaction(session.driver)

    async def undo_open_transaction(self, session_id: bytes) -> None:
        """Whatever a process that is gone or stands still has open in that session is undone. One that lives tries
        again. Without this the server waits a minute for it, and with it everybody who writes the same documents."""
        with answers("session"):
            await self._client.admin.command("killSessions", [{"id": Binary(session_id, UUID_SUBTYPE)}])

    async def ping(self) -> None:
        """Raises FlowError UNAVAILABLE, or START_FAILED when the server refuses the login."""
        with answers("ping"), timeout(self._ping_ms / 1000):
            await self._database.command("ping")

    async def warm(self) -> None:
        """Have connections open before they are needed all at once. Raises FlowError UNAVAILABLE."""
        if self._direct is not None and self._direct.is_usable:
            with answers("warm"):
                await self._direct.warm(_WARM)

    def statistics(self) -> dict[str, int]:
        """How many operations run and wait, and how many were turned away."""
        direct = self._direct.statistics() if self._direct is not None else {}
        return {**self._gate.statistics(), **direct}

    async def close(self) -> None:
        if self._direct is not None:
            self._direct.close()
        self._client.close()


def _direct_pool(driver: Any, settings: StorageSettings) -> DirectPool | None:
    """With the user, the certificates and the primary that the driver has made of the address; None when the user logs
    in by a mechanism that only the driver knows."""
    options = driver.options.pool_options
    credentials, context = options._credentials, options._ssl_context  # noqa: SLF001 - no other way to what it parsed
    login = None if credentials is None else Login.of(credentials)
    if credentials is not None and login is None:
        return None
    codec: CodecOptions[Document] = CodecOptions(tz_aware=True, type_registry=_TYPES)
    return DirectPool(lambda: _primary(driver), codec, context, login, settings.operation_timeout_ms)


def _primary(driver: Any) -> Address | None:
    """The address of the server that takes writes, as far as the driver has seen; it is not asked."""
    servers = driver.topology_description.server_descriptions().values()
    return next((server.address for server in servers if server.is_writable), None)


class Session:
    """One of the server's; `id` names it to other processes, so that they can undo what is left open in it."""

    def __init__(self, driver: Any) -> None:
        self.driver = driver
        self.turn = asyncio.Lock()

    @property
    def id(self) -> bytes:
        return bytes(self.driver.session_id["id"])


class Transaction:
    """One that is open, to be given to a collection's methods."""

    def __init__(self, session: Any) -> None:
        self.session = session


class Collection:
    """One collection. Methods carry the driver's own names and meaning, reduced to what storage uses."""

    def __init__(self, collection: Any, name: str, gate: Gate, direct: DirectCommands | None = None) -> None:
        self._collection = collection
        self._gate = gate
        self._commands = direct
        self.name = name

    def _direct(self, within: "Transaction | None" = None) -> DirectCommands | None:
        """What to ask directly; None where the driver must do it."""
        usable = within is None and self._commands is not None and self._commands.is_usable
        return self._commands if usable else None

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        async with self._gate.turn():
            with answers(self.name):
                yield

    async def find_one(self, filter_: Filter, projection: Filter | None = None, sort: Sort = ()) -> Document | None:
        async with self._turn():
            if (direct := self._direct()) is not None:
                rows = await direct.find(filter_, projection, sort, 1)
                return rows[0] if rows else None
            found = await self._collection.find_one(filter_, projection, sort=list(sort) or None)
        return cast("Document | None", found)

    async def find(
        self,
        filter_: Filter,
        *,
        limit: int,
        projection: Filter | None = None,
        sort: Sort = (),
        within: Transaction | None = None,
    ) -> list[Document]:
        """At most `limit` documents in one batch."""
        async with self._turn():
            if (direct := self._direct(within)) is not None:
                return await direct.find(filter_, projection, sort, limit)
            cursor = self._collection.find(
                filter_,
                projection,
                sort=list(sort) or None,
                limit=limit,
                batch_size=limit + 1,
                session=_session(within),
            )
            return cast("list[Document]", await cursor.to_list(length=limit))

    async def pages(
        self, filter_: Filter, *, page_rows: int, projection: Filter | None = None, sort: Sort = ()
    ) -> AsyncGenerator[list[Document], None]:
        """Everything that matches, at most `page_rows` in memory at once. For exports, not for requests."""
        async with self._turn():
            cursor = self._collection.find(filter_, projection, sort=list(sort) or None, batch_size=page_rows)
        try:
            while True:
                async with self._turn():
                    page = cast("list[Document]", await cursor.to_list(length=page_rows))
                if not page:
                    return
                yield page
        finally:
            await cursor.close()

    async def aggregate(self, pipeline: Sequence[Filter], *, limit: int) -> list[Document]:
        """The pipeline's first `limit` documents; the pipeline itself must be bounded."""
        async with self._turn():
            if (direct := self._direct()) is not None:
                return await direct.aggregate(pipeline, limit)
            cursor = self._collection.aggregate(list(pipeline), batchSize=limit + 1)
            return cast("list[Document]", await cursor.to_list(length=limit))

    async def count(self, filter_: Filter) -> int:
        async with self._turn():
            return cast("int", await self._collection.count_documents(filter_))

    async def insert_one(self, document: Document) -> None:
        async with self._turn():
            if (direct := self._direct()) is not None:
                await direct.insert_one(document)
            else:
                await self._collection.insert_one(document)

    async def insert_many(self, documents: Sequence[Document], *, ordered: bool = True) -> None:
        async with self._turn():
            if (direct := self._direct()) is not None:
                await direct.insert_many(documents, ordered=ordered)
            else:
                await self._collection.insert_many(documents, ordered=ordered)

    async def bulk_write(
        self, operations: Sequence[Any], *, ordered: bool = True, within: Transaction | None = None
    ) -> tuple[int, int, int]:
        """Returns how many documents were upserted, matched and modified. `BatchRefused` ends a transaction: none of it
        is done."""
        async with self._turn():
            if (direct := self._direct(within)) is not None and direct.takes(operations):
                return await direct.bulk_write(operations, ordered=ordered)
            result = await self._collection.bulk_write(list(operations), ordered=ordered, session=_session(within))
        return result.upserted_count, result.matched_count, result.modified_count

    async def update_one(self, filter_: Filter, update: Filter, *, upsert: bool = False) -> int:
        """Returns how many documents matched."""
        async with self._turn():
            if (direct := self._direct()) is not None:
                return (await direct.update(filter_, update, upsert=upsert, multi=False))[0]
            result = await self._collection.update_one(filter_, update, upsert=upsert)
        return cast("int", result.matched_count)

    async def update_many(self, filter_: Filter, update: Filter, *, within: Transaction | None = None) -> int:
        """Returns how many documents changed."""
        async with self._turn():
            if (direct := self._direct(within)) is not None:
                return (await direct.update(filter_, update, upsert=False, multi=True))[1]
            result = await self._collection.update_many(filter_, update, session=_session(within))
        return cast("int", result.modified_count)

    async def find_one_and_update(
        self,
        filter_: Filter,
        update: Filter,
        *,
        projection: Filter | None = None,
        upsert: bool = False,
        before: bool = False,
    ) -> Document | None:
        """The document as it is after the update, or as it was when `before`; None when nothing matched."""
        async with self._turn():
            found = await self._collection.find_one_and_update(
                filter_,
                update,
                projection=projection,
                upsert=upsert,
                return_document=ReturnDocument.BEFORE if before else ReturnDocument.AFTER,
            )
        return cast("Document | None", found)

    async def delete_one(self, filter_: Filter) -> int:
        async with self._turn():
            return cast("int", (await self._collection.delete_one(filter_)).deleted_count)

    async def delete_many(self, filter_: Filter) -> int:
        async with self._turn():
            return cast("int", (await self._collection.delete_many(filter_)).deleted_count)

    async def indexes(self) -> list[Document]:
        """The specifications of the indexes that exist."""
        async with self._turn():
            return [dict(index) async for index in self._collection.list_indexes()]

    async def create_index(
        self, keys: Sort | Sequence[tuple[str, str | int]], *, build_ms: int, **options: Any
    ) -> None:
        """Raises FlowError START_FAILED when another index or the data stands in the way."""
        try:
            async with self._turn():
                with timeout(build_ms / 1000):
                    await self._collection.create_index(list(keys), **options)
        except Duplicate as error:
            raise FlowError(
                START_FAILED,
                f"The unique index {options['name']} of {self.name} cannot be built: the data holds duplicates of "
                f"{', '.join(error.fields)}.",
            ) from error
        except OperationFailure as error:
            if error.code not in _INDEX_CONFLICTS:
                raise
            raise FlowError(
                START_FAILED,
                f"The index {options['name']} of {self.name} is in conflict with another index over the same fields; "
                "drop that one and start again.",
            ) from error


def _session(within: Transaction | None) -> Any:
    return None if within is None else within.session
