"""The `devices` collection: where pushes may be sent. A person has at most 20; the least recently seen make room.

Used by the HTTP interface, which registers them, and by the push worker, which removes those that are gone. A
registration that comes back under another person gets a new id, so that nothing owed to the first reaches the second.
"""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from storage.bounds import MAX_ROWS, check_batch
from storage.client import Conflict, Database, Duplicate
from storage.records import Device

MOST_DEVICES: Final = 20
_ATTEMPTS: Final = 12
"""An attempt is in vain only when another registration of the same token made its document between our two writes, and
each makes one: so many that come at once all succeed."""


class MongoDevices:
    def __init__(self, database: Database) -> None:
        self._devices = database.collection("devices")

    async def register(self, device: Device) -> None:
        """Idempotent. The same person's registration keeps the id it has; another person's is replaced.

        Of many at once the last one stays. `Conflict` when as many others always came in between.
        """
        same = {"kind": device.kind, "value": device.value}
        for _ in range(_ATTEMPTS):
            await self._devices.delete_one({**same, "user_id": {"$ne": device.user_id}})
            seen = {"platform": device.platform, "last_seen_ms": device.last_seen_ms}
            try:
                await self._devices.update_one(
                    {**same, "user_id": device.user_id}, {"$set": seen, "$setOnInsert": {"_id": device.id}}, upsert=True
                )
            except Duplicate:  # another registration of it arrived in the same moment
                continue
            return await self._make_room(device.user_id)
        raise Conflict

    async def _make_room(self, user_id: str) -> None:
        rows = await self._devices.find(
            {"user_id": user_id}, projection={"_id": 1}, sort=[("last_seen_ms", -1)], limit=MAX_ROWS
        )
        if len(rows) > MOST_DEVICES:
            await self._devices.delete_many({"_id": {"$in": [row["_id"] for row in rows[MOST_DEVICES:]]}})

    async def remove(self, device_id: str) -> None:
        await self._devices.delete_one({"_id": device_id})

    async def remove_for_user(self, user_id: str, value: str) -> None:
        await self._devices.delete_many({"user_id": user_id, "value": value})

    async def of_users(self, user_ids: Sequence[str]) -> list[Device]:
        check_batch(user_ids)
        if not user_ids:
            return []
        people = {"user_id": {"$in": list(user_ids)}}
        rows = await self._devices.find(people, sort=[("last_seen_ms", -1)], limit=MOST_DEVICES * (len(user_ids) + 1))
        kept: dict[str, list[Device]] = defaultdict(list)
        for row in rows:
            device = _device(row)
            if len(kept[device.user_id]) < MOST_DEVICES:
                kept[device.user_id].append(device)
        return [device for devices in kept.values() for device in devices]

    async def by_id(self, device_id: str) -> Device | None:
        row = await self._devices.find_one({"_id": device_id})
        return None if row is None else _device(row)


def _device(row: dict[str, Any]) -> Device:
    row["id"] = row.pop("_id")
    return msgspec.convert(row, Device)
