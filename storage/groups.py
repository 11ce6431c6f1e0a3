"""The `groups` collection: what a group of people says of itself. Its members are memberships of its room.

Used by the HTTP interface. It never decides who may join.
"""

from collections.abc import Mapping
from typing import Any

from cluster.kernel.clock import Clock
from cluster.kernel.errors import INVALID_REQUEST, FlowError
from cluster.kernel.ids import new_id
from storage.client import Database, Duplicate
from storage.dates import to_date
from storage.event_documents import Document, plain


class MongoGroups:
    def __init__(self, database: Database, clock: Clock) -> None:
        self._groups = database.collection("groups")
        self._clock = clock

    async def create(self, document: Mapping[str, Any]) -> Document:
        """Store a new group and return it whole; with an `_id` of the caller's, creating it again changes nothing.

        Raises FlowError INVALID_REQUEST when it has no name.
        """
        if not document.get("name"):
            raise FlowError(INVALID_REQUEST, "A group needs a name.", fields=("name",))
        now = to_date(self._clock.now_ms())
        given: Document = plain(document)
        defaults: Document = {"description": "", "category": "other", "tags": [], "admins": [], "privacy": "public"}
        stored = {"_id": new_id(), **defaults, **given, "createdAt": now, "updatedAt": now}
        try:
            await self._groups.insert_one(stored)
        except Duplicate:
            return await self.by_id(stored["_id"]) or stored
        return stored

    async def by_id(self, group_id: str) -> Document | None:
        return await self._groups.find_one({"_id": group_id})
