"""The schema's version, and the steps that raise it. Called once when storage is opened, after the indexes.

A step may run in two processes at once and may be cut off in the middle, so each must be safe to repeat. Data that a
newer build has touched is refused: an older build could write what the newer one no longer understands.
"""

from collections.abc import Awaitable, Callable
from typing import Final

from cluster.kernel.errors import START_FAILED, FlowError
from storage.client import Database, Duplicate

SCHEMA_VERSION: Final = 3

Step = Callable[[Database], Awaitable[None]]


async def _seals(database: Database) -> None:
    """Nothing to change: rooms without a seal get one when they are claimed. Earlier builds cannot read a seal."""


async def _journals(database: Database) -> None:
    """Nothing to change: messages that owe by themselves still may. Earlier builds do not find those in a journal."""


STEPS: Final[dict[int, Step]] = {1: _seals, 2: _journals}
"""`STEPS[n]` brings a database of version n to version n + 1."""


async def migrate(database: Database) -> int:
    """Returns the version found. Raises FlowError START_FAILED when it is newer than this build, UNAVAILABLE."""
    meta = database.collection("meta")
    row = await meta.find_one({"_id": "schema"})
    if row is None:
        try:
            await meta.insert_one({"_id": "schema", "schema_version": SCHEMA_VERSION})
        except Duplicate:
            return await migrate(database)  # another process was first
        return SCHEMA_VERSION
    found = int(row["schema_version"])
    if found > SCHEMA_VERSION:
        raise FlowError(
            START_FAILED,
            f"The database has schema version {found}; this build knows {SCHEMA_VERSION}. Start the newer build.",
        )
    for version in range(found, SCHEMA_VERSION):
        await STEPS[version](database)
        await meta.update_one({"_id": "schema", "schema_version": version}, {"$set": {"schema_version": version + 1}})
    return found
