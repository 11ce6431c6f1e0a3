"""What the database holds, read straight from it and not through Flow. Seals of rooms are no messages."""

from typing import Any

import pymongo
from pymongo.read_concern import ReadConcern

from tests.chaos.records import Database, StoredMessage, StoredRsvp

_NAME = "flow"
_IS_MESSAGE = {"sealed": {"$exists": False}}


class Stored:
    """Blocking; call it from a thread. Reads what a majority has."""

    def __init__(self, uri: str) -> None:
        self._client: pymongo.MongoClient[dict[str, Any]] = pymongo.MongoClient(uri, serverSelectionTimeoutMS=20_000)
        self._database = self._client.get_database(_NAME, read_concern=ReadConcern("majority"))

    def last(self) -> dict[str, int]:
        """The newest seq of each room."""
        newest = [{"$match": _IS_MESSAGE}, {"$group": {"_id": "$room_id", "seq": {"$max": "$seq"}}}]
        rows = self._database["messages"].aggregate(newest)
        return {row["_id"]: row["seq"] for row in rows}

    def read(self, capacity: dict[str, int]) -> Database:
        messages = tuple(
            StoredMessage(
                room=row["room_id"],
                seq=row["seq"],
                epoch=row["epoch"],
                id=row["_id"],
                user=row["user_id"],
                key=row["client_message_id"],
                text=row["text"],
            )
            for row in self._database["messages"].find(_IS_MESSAGE)
        )
        rsvps = tuple(
            StoredRsvp(
                event=row["event_id"],
                user=row["user_id"],
                status=row["status"],
                seat=row.get("seat"),
                place=row.get("place"),
            )
            for row in self._database["rsvps"].find({"event_id": {"$in": list(capacity)}})
        )
        return Database(messages, rsvps, capacity)

    def close(self) -> None:
        self._client.close()
