"""Candidates for meeting somebody: who is near, who goes to an event, and what is known of how they go together.

Used by the people operation. The candidate index is the database's own: a 2dsphere index is a grid of cells, the
multikey index on interests an inverted list; both are always fresh and privacy is part of the query
(docs/decisions/0019). Every answer reads a bounded number of rows. It never scores anybody.
"""

from collections.abc import Sequence
from typing import Any, Final

from storage.bounds import check_batch
from storage.client import Database

ACTIVITY_WINDOW_MS: Final = 30 * 24 * 3_600_000
_MOST_FRIENDS: Final = 1_000
_MOST_ACTIONS: Final = 50_000
_SHOWS_PLACE: Final[dict[str, Any]] = {"preferences.privacy.showLocation": True}
_SHOWS_INTERESTS: Final[dict[str, Any]] = {"preferences.privacy.showInterests": True}


class PeopleToMeet:
    def __init__(self, database: Database) -> None:
        self._users = database.collection("users")
        self._rsvps = database.collection("rsvps")
        self._friendships = database.collection("friendships")
        self._interactions = database.collection("interactions")

    async def near(
        self, user_id: str, place: tuple[float, float], metres: float, interests: Sequence[str], limit: int
    ) -> list[str]:
        """The nearest who show where they are: first those who share and show an interest, then others."""
        sharing: list[str] = []
        if interests:
            shared = {"profile.interests": {"$in": list(interests)}, **_SHOWS_INTERESTS}
            sharing = await self._nearest(user_id, place, metres, shared, limit - limit // 3)
        anybody = await self._nearest(user_id, place, metres, {}, limit)
        return list(dict.fromkeys((*sharing, *anybody)))[:limit]

    async def _nearest(
        self, user_id: str, place: tuple[float, float], metres: float, query: dict[str, Any], limit: int
    ) -> list[str]:
        near = {
            "near": {"type": "Point", "coordinates": list(place)},
            "key": "profile.location",
            "distanceField": "metres",
            "maxDistance": metres,
            "query": {"_id": {"$ne": user_id}, **_SHOWS_PLACE, **query},
        }
        rows = await self._users.aggregate(
            [{"$geoNear": near}, {"$limit": limit}, {"$project": {"_id": 1}}], limit=limit
        )
        return [row["_id"] for row in rows]

    async def at(self, user_id: str, event_id: str, limit: int) -> list[str]:
        """Who goes to an event or is interested in it, the first to say so first."""
        rows = await self._rsvps.find(
            {"event_id": event_id, "status": {"$in": ["going", "interested"]}, "user_id": {"$ne": user_id}},
            projection={"user_id": 1, "_id": 0},
            sort=[("status", 1), ("user_id", 1)],
            limit=limit,
        )
        return [row["user_id"] for row in rows]

    async def friends(self, user_id: str) -> list[str]:
        rows = await self._friendships.find(
            {"user_id": user_id, "kind": "friend"}, projection={"friend_id": 1, "_id": 0}, limit=_MOST_FRIENDS
        )
        return [row["friend_id"] for row in rows]

    async def mutual_friends(self, friends: Sequence[str], other_ids: Sequence[str]) -> dict[str, int]:
        """How many of `friends` each of the others has; those with none are left out."""
        check_batch(other_ids)
        if not friends or not other_ids:
            return {}
        stages = [
            {
                "$match": {
                    "user_id": {"$in": list(other_ids)},
                    "kind": "friend",
                    "friend_id": {"$in": list(friends)[:_MOST_FRIENDS]},
                }
            },
            {"$group": {"_id": "$user_id", "count": {"$sum": 1}}},
        ]
        rows = await self._friendships.aggregate(stages, limit=len(other_ids))
        return {row["_id"]: row["count"] for row in rows}

    async def actions(self, user_ids: Sequence[str], now_ms: int) -> dict[str, int]:
        """How much each did within 30 days; those who did nothing are left out."""
        if not user_ids:
            return {}
        stages: list[dict[str, Any]] = [
            {"$match": {"user_id": {"$in": list(user_ids)}, "at_ms": {"$gte": now_ms - ACTIVITY_WINDOW_MS}}},
            {"$limit": _MOST_ACTIONS},
            {"$group": {"_id": "$user_id", "count": {"$sum": 1}}},
        ]
        rows = await self._interactions.aggregate(stages, limit=len(user_ids))
        return {row["_id"]: row["count"] for row in rows}
