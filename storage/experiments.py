"""The `exposures` and `experiments` collections: who got which treatment, and what running experiments began as.

Used by edges, which log exposures, by the recommender's replicas, which compare definitions with what they began as,
and by `flow experiments`. One row a (experiment, version, unit), the earliest; a batch may be repeated. It never
decides who gets what.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from typing import Any, Final

from serve_apps.contracts import Exposure
from storage.bounds import MAX_ROWS, check_batch
from storage.client import BatchRefused, Database, Duplicate, InsertOne
from storage.settings import StorageSettings

BEFORE_MS: Final = 14 * 24 * 3_600_000
"""How long before its exposure a unit's own past counts for variance reduction; GrowthBook's default."""
MOST_ROWS: Final = 100_000
"""The most interactions read for one page of units."""


class MongoExperiments:
    def __init__(self, database: Database) -> None:
        self._database = database
        self._exposures = database.collection("exposures")
        self._begun = database.collection("experiments")
        self._interactions = database.collection("interactions")

    async def record(self, exposures: Sequence[Exposure]) -> None:
        """Implements `realtime.http.exposure_log.ExposureSink`."""
        check_batch(exposures)
        if not exposures:
            return
        rows = [
            {
                "_id": f"{one.experiment}/{one.version}/{one.unit}",
                "experiment": one.experiment,
                "version": one.version,
                "variation": one.variation,
                "unit": one.unit,
                "at_ms": one.at_ms,
            }
            for one in exposures
        ]
        with suppress(BatchRefused):  # unordered: what was there stays, all others are added
            await self._exposures.bulk_write([InsertOne(row) for row in rows], ordered=False)

    async def begun(self) -> dict[str, tuple[int, str, float]]:
        """(version, fingerprint, coverage) of every experiment that ever began, by key."""
        rows = await self._begun.find({}, limit=MAX_ROWS)
        return {row["_id"]: (row["version"], row["fingerprint"], row["coverage"]) for row in rows}

    async def begin(self, key: str, version: int, fingerprint: str, coverage: float) -> None:
        """Remember how this version began, or that its coverage was raised; an older version changes nothing."""
        values = {"version": version, "fingerprint": fingerprint, "coverage": coverage}
        older = {"_id": key, "version": {"$lte": version}}
        with suppress(Duplicate):  # a newer one is there
            await self._begun.update_one(older, {"$set": values}, upsert=True)

    async def units(self, key: str, version: int) -> AsyncIterator[list[tuple[str, str, dict[str, float]]]]:
        """Pages of (unit, variation, sums). A sum counts an action of the unit from its exposure on, `before:` and the
        action's name the same in the 14 days before it."""
        pages = self._exposures.pages(
            {"experiment": key, "version": version},
            projection={"unit": 1, "variation": 1, "at_ms": 1},
            page_rows=MAX_ROWS,
        )
        async for page in pages:
            exposed = {row["unit"]: row["at_ms"] for row in page}
            sums: dict[str, dict[str, float]] = {unit: {} for unit in exposed}
            rows = await self._interactions.find(
                {"user_id": {"$in": list(exposed)}, "at_ms": {"$gte": min(exposed.values()) - BEFORE_MS}},
                projection={"user_id": 1, "action": 1, "at_ms": 1, "_id": 0},
                limit=MOST_ROWS,
            )
            for row in rows:
                _count(sums[row["user_id"]], row, exposed[row["user_id"]])
            yield [(row["unit"], row["variation"], sums[row["unit"]]) for row in page]

    async def close(self) -> None:
        """For an owner that opened the database for this alone."""
        await self._database.close()


async def open_experiments(uri: str, database: str) -> MongoExperiments:
    """With a client of its own; connects when it is first asked. Raises FlowError START_FAILED for a wrong address."""
    return MongoExperiments(Database(StorageSettings(uri=uri, database=database, pool_size=2)))


def _count(sums: dict[str, float], row: dict[str, Any], exposed_ms: int) -> None:
    if row["at_ms"] >= exposed_ms:
        name = row["action"]
    elif row["at_ms"] >= exposed_ms - BEFORE_MS:
        name = f"before:{row['action']}"
    else:
        return
    sums[name] = sums.get(name, 0.0) + 1.0
