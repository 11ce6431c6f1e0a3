"""People and rooms for a measurement, as many as it needs, straight into MongoDB.

One of each is made through `storage`, so that its shape is today's; the others are copies under ids of their own.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, Final

import pymongo

from benchmarks.servers.server import user_id
from cluster.kernel.clock import SystemClock
from storage.open import StorageSettings, open_storage
from storage.records import RoomRecord, User

DATABASE: Final = StorageSettings(uri="").database
_BATCH: Final = 5_000
_MODEL_PERSON: Final = user_id(2**60)
_MODEL_ROOM: Final = f"{2:08x}{2**60:016x}"


async def make_models(uri: str) -> None:
    """The one of each that the others are copies of. Idempotent."""
    clock = SystemClock()
    storage = await open_storage(StorageSettings(uri=uri), clock)
    try:
        now_ms = clock.now_ms()
        user = User(
            id=_MODEL_PERSON, username="model", email=None, password_hash="!", name="Model", created_at_ms=now_ms
        )
        await storage.users.create(user)
        record = RoomRecord(id=_MODEL_ROOM, kind="group", name="model", created_by=_MODEL_PERSON, created_at_ms=now_ms)
        await storage.rooms.create(record)
        await storage.memberships.add(_MODEL_ROOM, [_MODEL_PERSON], now_ms)
    finally:
        await storage.close()


def seed_people(uri: str, numbers: Iterable[int]) -> None:
    with pymongo.MongoClient(uri) as client:
        users = client[DATABASE]["users"]
        model: Any = users.find_one({"_id": _MODEL_PERSON})
        people = (
            {**model, "_id": user_id(number), "username": f"bench{number}", "usernameLower": f"bench{number}"}
            for number in numbers
        )
        for batch in _batches(people):
            users.insert_many(batch, ordered=False)


def seed_rooms(uri: str, rooms: Sequence[tuple[str, Sequence[int]]]) -> None:
    """Each room with its members."""
    with pymongo.MongoClient(uri) as client:
        database = client[DATABASE]
        room: Any = database["rooms"].find_one({"_id": _MODEL_ROOM})
        member: Any = database["memberships"].find_one({"room_id": _MODEL_ROOM})
        for batch in _batches({**room, "_id": room_id} for room_id, _ in rooms):
            database["rooms"].insert_many(batch, ordered=False)
        members = (
            {**member, "_id": f"{room_id}/{user_id(number)}", "room_id": room_id, "user_id": user_id(number)}
            for room_id, numbers in rooms
            for number in numbers
        )
        for batch in _batches(members):
            database["memberships"].insert_many(batch, ordered=False)


def _batches(documents: Iterable[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    iterator = iter(documents)
    while batch := list(islice(iterator, _BATCH)):
        yield batch
