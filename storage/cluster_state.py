"""The `cluster_state` collection: the newest view of the cluster, as one document. It is placement's ViewStore.

Used by hosts, edges and the supervisor. `load` is linearizable, for which MongoDB writes an entry to its log and waits
for a majority to have it, as it does for a message; `recent` reads what a majority has. Writes compare the version on
the server, so of several that race with the same expectation exactly one succeeds. None is tried twice
here: who changes a view resolves an unknown outcome by reading. It never looks into a view.
"""

import msgspec

from cluster.placement.view import View
from storage.client import Collection, Database, Duplicate


class MongoViewStore:
    def __init__(self, database: Database) -> None:
        self._proven = database.collection("cluster_state", linearizable=True)
        self._state = database.collection("cluster_state", direct=True)

    async def load(self) -> View | None:
        return await _view(self._proven)

    async def recent(self) -> View | None:
        return await _view(self._state)

    async def compare_and_set(self, expected_version: int, view: View) -> bool:
        if view.version != expected_version + 1:
            raise ValueError("a view follows the one it was made from")
        document = {"version": view.version, "view": msgspec.to_builtins(view)}
        if expected_version > 0:
            expected = {"_id": "view", "version": expected_version}
            return await self._state.update_one(expected, {"$set": document}) == 1
        try:
            await self._state.insert_one({"_id": "view", **document})
        except Duplicate:
            return False
        return True


async def _view(state: Collection) -> View | None:
    row = await state.find_one({"_id": "view"})
    return None if row is None else msgspec.convert(row["view"], View)
