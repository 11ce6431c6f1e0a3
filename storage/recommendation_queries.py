"""Recommendations that need no model: what is talked about, what is close, and where friends go.

Used by the HTTP interface, as types of their own and to fill in when the model is away. Every answer holds only public
events that are not over, none of the excluded ones, and reads a bounded number of rows. It never mixes the sources.
"""

from collections.abc import Collection, Sequence
from typing import Any, Final

from serve_apps.contracts import ACTION_WEIGHTS, ScoredEvent
from storage.bounds import page_limit
from storage.client import Database
from storage.dates import to_date, to_ms
from storage.event_filters import EventFilters
from storage.friendships import MongoFriendships

DAY_MS: Final = 24 * 3_600_000
TRENDING_WINDOW_MS: Final = 14 * DAY_MS
HALF_LIFE_MS: Final = 3 * DAY_MS
_NEWEST_ROWS: Final = 50_000
"""The most interactions, and the most answers, that one look at the trend reads; the newest count most anyway."""
_CANDIDATES: Final = 2_000
_LARGEST_CIRCLE: Final = 1_000
_SETTLED_ACTIONS: Final = ("attend", "check_in", "decline", "dismiss")
"""After one of these there is no point in recommending the event to the person again."""
_STATUS_WEIGHTS: Final = {
    "going": ACTION_WEIGHTS["attend"],
    "waiting": ACTION_WEIGHTS["attend"],
    "interested": ACTION_WEIGHTS["interested"],
}


class RecommendationQueries:
    def __init__(self, database: Database) -> None:
        self._events = database.collection("events")
        self._interactions = database.collection("interactions")
        self._rsvps = database.collection("rsvps")
        self._friendships = MongoFriendships(database)

    async def trending(self, now_ms: int, limit: int, exclude: Collection[str] = ()) -> list[ScoredEvent]:
        """By interactions and answers of the last 14 days, each worth half as much every three days."""
        page_limit(limit)
        rows = await self._interactions.aggregate(trend_pipeline(now_ms), limit=_CANDIDATES)
        return await self._live(rows, now_ms, limit, exclude)

    async def nearby(
        self,
        now_ms: int,
        coordinates: tuple[float, float],
        max_metres: float,
        limit: int,
        exclude: Collection[str] = (),
    ) -> list[ScoredEvent]:
        """By distance from (longitude, latitude), nearest first; one kilometre away scores a half."""
        page_limit(limit)
        near = {
            "near": {"type": "Point", "coordinates": list(coordinates)},
            "key": "location",
            "distanceField": "metres",
            "maxDistance": max_metres,
            "query": {**_recommendable(now_ms), "_id": {"$nin": list(exclude)}},
        }
        stages: list[dict[str, Any]] = [{"$geoNear": near}, {"$limit": limit}, {"$project": {"metres": 1}}]
        rows = await self._events.aggregate(stages, limit=limit)
        return [ScoredEvent(row["_id"], 1.0 / (1.0 + row["metres"] / 1000.0)) for row in rows]

    async def social(self, user_id: str, now_ms: int, limit: int, exclude: Collection[str] = ()) -> list[ScoredEvent]:
        """By how many friends and people followed go, or are interested, which counts for less. Nobody else counts."""
        page_limit(limit)
        circle = await self._friendships.circle(user_id, _LARGEST_CIRCLE)
        if not circle:
            return []
        pipeline: list[dict[str, Any]] = [
            {"$match": {"user_id": {"$in": circle}, "status": {"$in": ["going", "interested"]}}},
            {"$limit": _NEWEST_ROWS},
            {"$group": {"_id": "$event_id", "score": {"$sum": _status_weight()}}},
            {"$sort": {"score": -1, "_id": 1}},
            {"$limit": _CANDIDATES},
        ]
        rows = await self._rsvps.aggregate(pipeline, limit=_CANDIDATES)
        return await self._live(rows, now_ms, limit, exclude)

    async def newest(self, limit: int) -> list[dict[str, Any]]:
        """What was published or changed last, newest first: `event_id`, `at_ms`, `topics` and `coordinates` of each."""
        page_limit(limit)
        rows = await self._events.find(
            {"visibility": "public"},
            projection={"updatedAt": 1, "category": 1, "tags": 1, "location.coordinates": 1},
            sort=[("updatedAt", -1), ("_id", -1)],
            limit=limit,
        )
        return [
            {
                "event_id": row["_id"],
                "at_ms": to_ms(row["updatedAt"]),
                "topics": [name.casefold() for name in (row["category"], *row["tags"])],
                "coordinates": row["location"]["coordinates"] if row.get("location") else None,
            }
            for row in rows
        ]

    async def known_to(self, user_id: str, limit: int) -> list[str]:
        """Events that are no news to a person, at most `limit` of each: answered, and gone to or dismissed."""
        page_limit(limit)
        answered = await self._rsvps.find(
            {"user_id": user_id}, projection={"event_id": 1, "_id": 0}, sort=[("_id", -1)], limit=limit
        )
        done = await self._interactions.find(
            {"user_id": user_id, "action": {"$in": list(_SETTLED_ACTIONS)}},
            projection={"event_id": 1, "_id": 0},
            sort=[("_id", -1)],
            limit=limit,
        )
        return list(dict.fromkeys(row["event_id"] for row in (*answered, *done)))

    async def _live(
        self, scored: Sequence[dict[str, Any]], now_ms: int, limit: int, exclude: Collection[str]
    ) -> list[ScoredEvent]:
        """The best of those that may be recommended at all, in the order they came."""
        excluded = set(exclude)
        ids = [row["_id"] for row in scored if row["_id"] not in excluded]
        if not ids:
            return []
        rows = await self._events.find(
            {"_id": {"$in": ids}, **_recommendable(now_ms)}, projection={"_id": 1}, limit=len(ids)
        )
        live = {row["_id"] for row in rows}
        kept = [ScoredEvent(row["_id"], float(row["score"])) for row in scored if row["_id"] in live]
        return kept[:limit]


def trend_pipeline(now_ms: int) -> list[dict[str, Any]]:
    """Over `interactions`. Both collections have an index that holds all fields of it, so no document is read."""
    recent = {"at_ms": {"$gte": now_ms - TRENDING_WINDOW_MS, "$lte": now_ms}}
    age_in_half_lives = {"$divide": [{"$subtract": [now_ms, "$at_ms"]}, HALF_LIFE_MS]}
    decayed = {"$multiply": ["$weight", {"$pow": [0.5, age_in_half_lives]}]}
    newest: list[dict[str, Any]] = [{"$match": recent}, {"$sort": {"at_ms": -1}}, {"$limit": _NEWEST_ROWS}]
    answers = [*newest, {"$project": {"_id": 0, "event_id": 1, "at_ms": 1, "weight": _status_weight()}}]
    return [
        *newest,
        {"$project": {"_id": 0, "event_id": 1, "at_ms": 1, "weight": 1}},
        {"$unionWith": {"coll": "rsvps", "pipeline": answers}},
        {"$group": {"_id": "$event_id", "score": {"$sum": decayed}}},
        {"$match": {"score": {"$gt": 0}}},
        {"$sort": {"score": -1, "_id": 1}},
        {"$limit": _CANDIDATES},
    ]


def _recommendable(now_ms: int) -> dict[str, Any]:
    query = EventFilters(not_over_at_ms=now_ms).query()
    return {"visibility": query["visibility"], "datetime.end": {"$gte": to_date(now_ms)}}


def _status_weight() -> dict[str, Any]:
    branches = [{"case": {"$eq": ["$status", status]}, "then": weight} for status, weight in _STATUS_WEIGHTS.items()]
    return {"$switch": {"branches": branches, "default": 0.0}}
