"""What a recommendation needs to know of a person, in real time: profile, past, friends' plans, blocks.

Used by the recommendations operation. Kept in the two-level cache (Redis) under the person's own key and dropped as
soon as the person acts, so the next request sees it; what friends do is seen within `TTL_S`. MongoDB holds the truth:
with Redis away it is read there. Many people at once are read together. Every part is bounded.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from serve_apps.contracts import ACTION_WEIGHTS, Acted
from storage.cache import Cache, recommendations_cache_key
from storage.client import Database
from storage.dates import to_ms
from storage.devices import MOST_DEVICES
from storage.together import Together

TTL_S: Final = 30.0
MOST_HISTORY: Final = 50
MOST_KNOWN: Final = 500
_ROWS_EACH: Final = 500
_FRIENDS_EACH: Final = 500
_MOST_PLANS: Final = 20_000
_PLANS_EACH: Final = 200
_MOST_ROWS: Final = 1 + 3 * _ROWS_EACH + MOST_DEVICES + _MOST_PLANS
_USER, _ANSWER, _ACTION, _DEVICE, _BLOCK, _PLAN = "user", "answer", "action", "device", "block", "plan"
_SETTLED: Final = frozenset(("attend", "check_in", "decline", "dismiss"))
_STATUS_ACTIONS: Final = {"going": "attend", "waiting": "attend", "interested": "interested", "declined": "decline"}


class PersonFeatures(msgspec.Struct, frozen=True, kw_only=True):
    """`known` are events that are no news: answered, gone to or dismissed. `history` is newest first. `friends_going`
    maps events to how many of the circle go. `blocked` are people whom a block keeps from this one. `platform` is that
    of the device seen last which takes pushes."""

    interests: tuple[str, ...] = ()
    coordinates: tuple[float, float] | None = None
    known: tuple[str, ...] = ()
    history: tuple[Acted, ...] = ()
    friends_going: dict[str, int] = {}
    blocked: tuple[str, ...] = ()
    joined_ms: int | None = None
    platform: str | None = None


NOBODY: Final = PersonFeatures()
"""Somebody of whom nothing is known."""


def features_cache_key(user_id: str) -> str:
    return f"user:features:{user_id}"


class UserFeatures:
    def __init__(self, database: Database, cache: Cache) -> None:
        self._users = database.collection("users")
        self._cache = cache
        self._together = Together("user_features", self._read)

    async def of(self, user_id: str) -> PersonFeatures:
        """Somebody who does not exist is somebody of whom nothing is known. Raises FlowError UNAVAILABLE."""

        loaded: list[PersonFeatures] = []

        async def load() -> PersonFeatures:
            loaded.append(await self._together.get(user_id) or NOBODY)
            return loaded[0]

        found = await self._cache.get_or_load_encoded(features_cache_key(user_id), load, ttl_s=TTL_S)
        return loaded[0] if loaded or found is None else msgspec.msgpack.decode(found, type=PersonFeatures)

    async def acted(self, user_id: str) -> None:
        """The person did something: what is kept of it, and made of it, is made anew. Call it after it is durable."""
        await self._cache.invalidate(features_cache_key(user_id), recommendations_cache_key(user_id))

    async def close(self) -> None:
        await self._together.close()

    async def _read(self, user_ids: Sequence[str]) -> Mapping[str, PersonFeatures]:
        """Everything of everybody in one command: what is read is little, and each command costs more than that."""
        ids = list(user_ids)
        found: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for row in await self._users.aggregate(_everything_of(ids), limit=len(ids) * _MOST_ROWS):
            found[row["of"]].append(row)
        platforms: dict[str, str] = {}
        for row in sorted(found[_DEVICE], key=lambda row: row["last_seen_ms"]):
            platforms[row["user_id"]] = row["platform"]  # the one seen last stays
        plans: dict[str, Counter[str]] = defaultdict(Counter)
        for row in found[_PLAN]:
            plans[row["user_id"]][row["event_id"]] += 1
        blocked: dict[str, set[str]] = defaultdict(set)
        for row in found[_BLOCK]:
            blocked[row["user_id"]].add(row["blocked_id"])
            blocked[row["blocked_id"]].add(row["user_id"])
        pasts = _pasts(found[_ANSWER], found[_ACTION])
        return {
            row["_id"]: msgspec.structs.replace(
                _features(row["profile"], pasts[row["_id"]], plans[row["_id"]], blocked[row["_id"]]),
                joined_ms=to_ms(row["createdAt"]),
                platform=platforms.get(row["_id"]),
            )
            for row in found[_USER]
        }


def _everything_of(ids: list[str]) -> list[dict[str, Any]]:
    """`of` tells what each row is. Every part has a limit of its own."""
    theirs, size = {"user_id": {"$in": ids}}, len(ids)
    whole = {"user_id": 1, "event_id": 1, "at_ms": 1, "_id": 0}
    return [
        {"$match": {"_id": {"$in": ids}}},
        {
            "$project": {
                "of": {"$literal": _USER},
                "profile.interests": 1,
                "profile.location.coordinates": 1,
                "createdAt": 1,
            }
        },
        _and("rsvps", _ANSWER, theirs, {**whole, "status": 1}, size * _ROWS_EACH),
        _and("interactions", _ACTION, theirs, {**whole, "action": 1, "weight": 1}, size * _ROWS_EACH, {"at_ms": -1}),
        _and(
            "devices", _DEVICE, theirs, {"user_id": 1, "platform": 1, "last_seen_ms": 1, "_id": 0}, size * MOST_DEVICES
        ),
        _and(
            "blocks",
            _BLOCK,
            {"$or": [theirs, {"blocked_id": {"$in": ids}}]},
            {"user_id": 1, "blocked_id": 1, "_id": 0},
            size * _ROWS_EACH,
        ),
        {"$unionWith": {"coll": "friendships", "pipeline": _plans_of_circles(theirs, size)}},
    ]


def _and(
    collection: str,
    of: str,
    which: dict[str, Any],
    fields: dict[str, int],
    limit: int,
    order: dict[str, int] | None = None,
) -> dict[str, Any]:
    ordered = [{"$sort": order}] if order else []
    stages = [{"$match": which}, *ordered, {"$limit": limit}, {"$project": {**fields, "of": {"$literal": of}}}]
    return {"$unionWith": {"coll": collection, "pipeline": stages}}


def _plans_of_circles(theirs: dict[str, Any], size: int) -> list[dict[str, Any]]:
    """A row for each plan of each one in each one's circle; who is a friend and followed too is counted once."""
    plans = {
        "from": "rsvps",
        "localField": "_id.friend_id",
        "foreignField": "user_id",
        "pipeline": [{"$match": {"status": {"$in": ["going", "interested"]}}}, {"$project": {"event_id": 1, "_id": 0}}],
        "as": "plan",
    }
    return [
        {"$match": {**theirs, "kind": {"$in": ["friend", "following"]}}},
        {"$limit": size * _FRIENDS_EACH},
        {"$group": {"_id": {"user_id": "$user_id", "friend_id": "$friend_id"}}},
        {"$lookup": plans},
        {"$unwind": "$plan"},
        {"$limit": _MOST_PLANS},
        {
            "$project": {
                "of": {"$literal": _PLAN},
                "user_id": "$_id.user_id",
                "event_id": "$plan.event_id",
                "_id": 0,
            }
        },
    ]


def _pasts(answers: Sequence[dict[str, Any]], actions: Sequence[dict[str, Any]]) -> Mapping[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in answers:
        action = _STATUS_ACTIONS.get(row["status"], "decline")
        found[row["user_id"]].append({**row, "action": action, "weight": ACTION_WEIGHTS[action], "answered": True})
    for row in actions:
        found[row["user_id"]].append(row)
    return found


def _features(
    profile: dict[str, Any], past: list[dict[str, Any]], plans: Counter[str], blocked: set[str]
) -> PersonFeatures:
    location = profile.get("location")
    past.sort(key=lambda row: (-row["at_ms"], row["event_id"]))
    known = dict.fromkeys(row["event_id"] for row in past if row.get("answered") or row["action"] in _SETTLED)
    history: dict[str, Acted] = {}
    for row in past:
        before = history.get(row["event_id"])
        if before is None or before.weight < row["weight"]:
            history[row["event_id"]] = Acted(row["event_id"], float(row["weight"]), row["at_ms"])
    newest = sorted(history.values(), key=lambda one: (-one.at_ms, one.event_id))
    return PersonFeatures(
        interests=tuple(profile["interests"]),
        coordinates=tuple(location["coordinates"]) if location else None,
        known=tuple(known)[:MOST_KNOWN],
        history=tuple(newest[:MOST_HISTORY]),
        friends_going=dict(plans.most_common(_PLANS_EACH)),
        blocked=tuple(sorted(blocked)[:MOST_KNOWN]),
    )
