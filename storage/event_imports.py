"""Imports into the `events` collection: the same source document again changes nothing.

Used by the events collection. An event is known by (source.platform, source.externalId), which is unique, and compared
by a fingerprint of what the source said, so that what people changed here since stays until the source itself changes.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Any, Final, Literal

from cluster.kernel.clock import Clock
from cluster.kernel.errors import INVALID_REQUEST, FlowError
from cluster.kernel.ids import new_id
from storage.bounds import check_batch
from storage.client import BatchRefused, Conflict, Database, UpdateOne
from storage.dates import to_date
from storage.event_documents import Document, complete, fingerprint

Outcome = Literal["imported", "unchanged", "updated"]
_Source = tuple[str, str]

_ATTEMPTS: Final = 3
_OURS: Final = frozenset({"_id", "source", "room", "createdAt", "updatedAt"})


class EventImports:
    """`changing` is put around the change of events by id."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        changing: Callable[[Sequence[str]], AbstractAsyncContextManager[None]] = lambda _: nullcontext(),
    ) -> None:
        self._events = database.collection("events")
        self._clock = clock
        self._changing = changing

    async def upsert_imported(self, documents: Sequence[Mapping[str, Any]]) -> list[Outcome]:
        """What became of each document, in order. Durable before it returns; safe to call again. What this call added
        itself counts as unchanged if it then met another import and had to compare again.

        Raises FlowError INVALID_REQUEST when a document is incomplete or does not say its source; `Conflict` when some
        were added and deleted beside it again and again.
        """
        check_batch(documents)
        whole = [complete(document) for document in documents]
        for _ in range(_ATTEMPTS):
            known = await self._known(whole)
            changed = [event_id for event_id, _ in known.values()]
            outcomes, operations = self._plan(whole, {source: print_ for source, (_, print_) in known.items()})
            try:
                if operations:
                    async with self._changing(changed):
                        await self._events.bulk_write(operations, ordered=False)
            except BatchRefused:
                continue  # another import added some in the same moment: all are there now, so compare again
            return outcomes
        raise Conflict

    async def _known(self, documents: Sequence[Document]) -> dict[_Source, tuple[str, str]]:
        """Id and fingerprint of those that exist."""
        wanted: dict[str, list[str]] = defaultdict(list)
        for document in documents:
            platform, external_id = _source(document)
            wanted[platform].append(external_id)
        if not wanted:
            return {}
        either = [{"source.platform": name, "source.externalId": {"$in": ids}} for name, ids in wanted.items()]
        rows = await self._events.find({"$or": either}, projection={"source": 1}, limit=len(documents))
        return {_source(row): (row["_id"], row["source"].get("fingerprint", "")) for row in rows}

    def _plan(self, documents: Sequence[Document], known: dict[_Source, str]) -> tuple[list[Outcome], list[UpdateOne]]:
        now = to_date(self._clock.now_ms())
        outcomes: list[Outcome] = []
        operations: dict[_Source, UpdateOne] = {}
        for document in documents:
            source, print_ = _source(document), fingerprint(document)
            if known.get(source) == print_:
                outcomes.append("unchanged")
                continue
            outcomes.append("updated" if source in known else "imported")
            known[source] = print_
            content = {name: value for name, value in document.items() if name not in _OURS}
            content["source"] = {**document["source"], "lastSync": now, "fingerprint": print_}
            fresh = {"_id": new_id(), "room": {"epoch": 0}, "createdAt": now}
            operations[source] = UpdateOne(
                {"source.platform": source[0], "source.externalId": source[1]},
                {"$set": {**content, "updatedAt": now}, "$setOnInsert": fresh},
                upsert=True,
            )
        return outcomes, list(operations.values())


def _source(document: Mapping[str, Any]) -> _Source:
    source = document.get("source") or {}
    platform, external_id = source.get("platform"), source.get("externalId")
    if not isinstance(platform, str) or not isinstance(external_id, str):
        raise FlowError(INVALID_REQUEST, "An imported event must say its platform and id there.", fields=("source",))
    return platform, external_id
