"""Messages and answers whose follow-up work was given up, for operators. Used by the command line alone.

An id here names the collection too: `messages/ID` or `rsvps/EVENT/USER`.
"""

from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from cluster.kernel.errors import INVALID_REQUEST, FlowError
from storage.client import Database
from storage.leases import dead_owed, replay_owed
from storage.records import DeadCause

_COLLECTIONS: Final = ("messages", "rsvps")


def is_cause(dead_letter_id: str) -> bool:
    """Whether it names a cause, and not a push."""
    return dead_letter_id.partition("/")[0] in _COLLECTIONS


class DeadCauses:
    def __init__(self, database: Database) -> None:
        self._collections = {name: database.collection(name) for name in _COLLECTIONS}

    async def page(self, after_id: str | None, limit: int) -> list[DeadCause]:
        """In the order of their ids, from after the given one."""
        name, _, own = (after_id or "").partition("/")
        found: list[DeadCause] = []
        for collection in _COLLECTIONS:
            if collection < name or len(found) >= limit:
                continue
            after = own if collection == name else None
            rows = await dead_owed(self._collections[collection], after, limit - len(found))
            found += [msgspec.structs.replace(row, id=f"{collection}/{row.id}") for row in rows]
        return found

    async def replay(self, ids: Sequence[str]) -> int:
        """Dead ones among these are worked out again. Returns how many there were."""
        by_collection: dict[str, list[str]] = {name: [] for name in _COLLECTIONS}
        for name, own in _split(ids):
            by_collection[name].append(own)
        return sum([await replay_owed(self._collections[name], own) for name, own in by_collection.items()])


def _split(ids: Iterable[str]) -> Iterable[tuple[str, str]]:
    for given in ids:
        name, _, own = given.partition("/")
        if name not in _COLLECTIONS or not own:
            raise FlowError(INVALID_REQUEST, f"{given} is not the id of a cause.", fields=("id",))
        yield name, own
