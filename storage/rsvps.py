"""The `rsvps` collection: one row a person and event, behind the port that hosts use.

Used by hosts and by the relay that tells people. Unique (event, seat) and (event, place) make overselling impossible
whoever writes. A batch is one transaction that first writes to the documents of its events, where epochs are claimed:
so it is either stored before a newer owner claims, and counted by it, or not at all, as when the event is gone. It
never chooses a seat.
"""

import asyncio
import random
from collections.abc import Sequence
from typing import Any, Final

from cluster.kernel.errors import UNAVAILABLE, FlowError
from storage.bounds import check_batch, page_limit
from storage.client import BatchRefused, Conflict, Database, UpdateOne
from storage.event_heads import EventHeads
from storage.leases import OWED, fail_owed, lease_owed
from storage.records import AppendResult, EventHead, OwedRsvp, Rsvp

_MOST_EARLIER: Final = 16
_GONE: Final = float("inf")
"""In the place of the epoch of an event that was deleted: its owner finds out when it claims it again."""
_Row = tuple[Rsvp, bool]
"""A row, and whether it owes news."""

_CONFLICT_TRIES: Final = 12
_PAUSE_S: Final = 0.005


class MongoRsvpLedger:
    def __init__(self, database: Database) -> None:
        self._database = database
        self._rsvps = database.collection("rsvps")
        self._heads = EventHeads(database, self._rsvps)

    async def claim(self, event_id: str) -> EventHead:
        return await self._heads.claim(event_id)

    async def append(self, rsvps: Sequence[Rsvp], owed: Sequence[bool]) -> AppendResult:
        check_batch(rsvps)
        rows = list(zip(rsvps, owed, strict=True))
        end, refusal = len(rows), None
        moved_on: set[int] = set()
        while end:
            indexes = [index for index in range(end) if index not in moved_on]
            try:
                fenced = await self._write_soon([rows[index] for index in indexes])
            except BatchRefused as refused:
                # Nothing of this try is stored; what stands before the refused row is written in the next one.
                at = indexes[refused.index]
                why = await self._refusal(rsvps, at)
                if why is None:
                    moved_on.add(at)
                else:
                    end, refusal = at, why
                continue
            if fenced is None:
                break
            end, refusal = indexes[fenced], "fenced"
        return AppendResult(end, refusal)

    async def _write_soon(self, rows: Sequence[_Row]) -> int | None:
        """`_write`, tried again while claims and edits of the events are in the way."""
        for attempt in range(1, _CONFLICT_TRIES):
            try:
                return await self._write(rows)
            except Conflict:
                await asyncio.sleep(random.uniform(0, _PAUSE_S * attempt))  # noqa: S311 - jitter, not a secret
        return await self._write(rows)

    async def _write(self, rows: Sequence[_Row]) -> int | None:
        """Store all, durably, or none. None when it was done, else the index of the first whose event has a newer
        owner. Raises BatchRefused or Conflict."""
        if not rows:
            return None
        operations = [
            UpdateOne({"_id": _id(rsvp), "epoch": {"$lte": rsvp.epoch}}, _replacement(rsvp, owes), upsert=True)
            for rsvp, owes in rows
        ]
        async with self._database.transaction(await self._heads.session()) as transaction:
            epochs = await self._heads.hold({rsvp.event_id for rsvp, _ in rows}, transaction)
            for index, (rsvp, _) in enumerate(rows):
                if epochs.get(rsvp.event_id, _GONE) > rsvp.epoch:
                    return index
            await self._rsvps.bulk_write(operations, within=transaction)
        return None

    async def _refusal(self, rsvps: Sequence[Rsvp], index: int) -> str | None:
        """Why `rsvps[index]` was refused; None when this very batch was written before and gave its seat on."""
        rsvp = rsvps[index]
        row = await self._rsvps.find_one({"_id": _id(rsvp)}, {"epoch": 1})
        if row is not None and row["epoch"] > rsvp.epoch:
            return "fenced"
        held = [{name: value} for name, value in (("seat", rsvp.seat), ("place", rsvp.place)) if value is not None]
        others = {"event_id": rsvp.event_id, "user_id": {"$ne": rsvp.user_id}, "$or": held}
        holder = await self._rsvps.find_one(others) if held else None
        if holder is None:
            # The other write is not on a majority yet, or is gone again; either way a second try will tell.
            raise FlowError(UNAVAILABLE, "An answer for the same seat is being written.")
        return None if _rsvp(holder) in rsvps[index + 1 :] else "position"

    async def rsvp(self, event_id: str, user_id: str) -> Rsvp | None:
        row = await self._rsvps.find_one({"_id": f"{event_id}/{user_id}"})
        return None if row is None else _rsvp(row)

    async def going(self, event_id: str, after_user_id: str | None, limit: int) -> list[str]:
        query: dict[str, Any] = {"event_id": event_id, "status": "going"}
        if after_user_id is not None:
            query["user_id"] = {"$gt": after_user_id}
        rows = await self._rsvps.find(
            query, projection={"user_id": 1, "_id": 0}, sort=[("user_id", 1)], limit=page_limit(limit)
        )
        return [row["user_id"] for row in rows]

    async def lease_owed(self, worker: str, now_ms: int, lease_ms: int, limit: int) -> list[OwedRsvp]:
        rows = await lease_owed(self._rsvps, worker, now_ms, lease_ms, limit)
        return [OwedRsvp(_rsvp(row), _earlier(row)) for row in rows]

    async def settle_owed(self, rsvps: Sequence[Rsvp]) -> None:
        """An answer that was replaced meanwhile still owes what its replacement owes."""
        check_batch(rsvps)
        if rsvps:
            await self._rsvps.bulk_write([UpdateOne(_exactly(rsvp), {"$unset": {"owed": ""}}) for rsvp in rsvps])

    async def fail_owed(self, rsvps: Sequence[Rsvp], error: str) -> None:
        await fail_owed(self._rsvps, [_id(rsvp) for rsvp in rsvps], error)


def _id(rsvp: Rsvp) -> str:
    return f"{rsvp.event_id}/{rsvp.user_id}"


def _exactly(rsvp: Rsvp) -> dict[str, Any]:
    query = _document(rsvp)
    for absent in {"seat", "place", "promoted"} - query.keys():
        query[absent] = {"$exists": False}
    return query


def _document(rsvp: Rsvp) -> dict[str, Any]:
    document: dict[str, Any] = {
        "_id": _id(rsvp),
        "event_id": rsvp.event_id,
        "user_id": rsvp.user_id,
        "status": rsvp.status,
        "epoch": rsvp.epoch,
        "at_ms": rsvp.at_ms,
    }
    if rsvp.seat is not None:
        document["seat"] = rsvp.seat
    if rsvp.place is not None:
        document["place"] = rsvp.place
    if rsvp.promoted:
        document["promoted"] = True
    return document


def _replacement(rsvp: Rsvp, owes: bool) -> list[dict[str, Any]]:
    """The new row. One that owes takes over the answers before it that nobody has settled, so that none is skipped."""
    document: dict[str, Any] = {"$literal": _document(rsvp)}
    if not owes:
        return [{"$replaceWith": document}]
    replaced = {"status": "$status", "epoch": "$epoch", "at_ms": "$at_ms"}
    trail = {"$slice": [{"$concatArrays": [{"$ifNull": ["$owed.trail", []]}, [replaced]]}, -_MOST_EARLIER]}
    owed = {"$mergeObjects": [{"$literal": OWED}, {"trail": {"$cond": [{"$ifNull": ["$owed", False]}, trail, []]}}]}
    return [{"$replaceWith": {"$mergeObjects": [document, {"owed": owed}]}}]


def _earlier(row: dict[str, Any]) -> tuple[Rsvp, ...]:
    trail = row["owed"].get("trail", ())
    return tuple(Rsvp(event_id=row["event_id"], user_id=row["user_id"], **earlier) for earlier in trail)


def _rsvp(row: dict[str, Any]) -> Rsvp:
    return Rsvp(
        event_id=row["event_id"],
        user_id=row["user_id"],
        status=row["status"],
        epoch=row["epoch"],
        at_ms=row["at_ms"],
        seat=row.get("seat"),
        place=row.get("place"),
        promoted=row.get("promoted", False),
    )
