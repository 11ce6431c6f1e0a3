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
        self._rsvps = database.collection("rsvps")
        self._interactions = database.collection("interactions")
        self._friendships = database.collection("friendships")
        self._blocks = database.collection("blocks")
        self._devices = database.collection("devices")
        self._cache = cache
        self._together = Together("user_features", self._read)

    async def of(self, user_id: str) -> PersonFeatures:
        """Somebody who does not exist is somebody of whom nothing is known. Raises FlowError UNAVAILABLE."""

        async def load() -> Any:
            return msgspec.to_builtins(await self._together.get(user_id) or NOBODY)

        found = await self._cache.get_or_load(features_cache_key(user_id), load, ttl_s=TTL_S)
        return msgspec.convert(found, PersonFeatures)

    async def acted(self, user_id: str) -> None:
        """The person did something: what is kept of it, and made of it, is made anew. Call it after it is durable."""
        await self._cache.invalidate(features_cache_key(user_id), recommendations_cache_key(user_id))

    async def close(self) -> None:
        await self._together.close()

    async def _read(self, user_ids: Sequence[str]) -> Mapping[str, PersonFeatures]:
        ids = list(user_ids)
        size = len(ids)
        users = await self._users.find(
            {"_id": {"$in": ids}},
            projection={"profile.interests": 1, "profile.location.coordinates": 1, "createdAt": 1},
            limit=size,
        )
        answers = await self._rsvps.find(
            {"user_id": {"$in": ids}},
            projection={"user_id": 1, "event_id": 1, "status": 1, "at_ms": 1, "_id": 0},
            limit=size * _ROWS_EACH,
        )
        actions = await self._interactions.find(
            {"user_id": {"$in": ids}},
            projection={"user_id": 1, "event_id": 1, "action": 1, "weight": 1, "at_ms": 1, "_id": 0},
            sort=[("at_ms", -1)],
            limit=size * _ROWS_EACH,
        )
        devices = await self._devices.find(
            {"user_id": {"$in": ids}},
            projection={"user_id": 1, "platform": 1, "_id": 0},
            sort=[("last_seen_ms", 1)],
            limit=size * MOST_DEVICES,
        )
        platforms = {row["user_id"]: row["platform"] for row in devices}  # the one seen last stays
        plans = await self._plans(ids)
        blocked = await self._blocked(ids)
        pasts = _pasts(answers, actions)
        return {
            row["_id"]: msgspec.structs.replace(
                _features(row["profile"], pasts[row["_id"]], plans[row["_id"]], blocked[row["_id"]]),
                joined_ms=to_ms(row["createdAt"]),
                platform=platforms.get(row["_id"]),
            )
            for row in users
        }

    async def _plans(self, ids: list[str]) -> Mapping[str, Counter[str]]:
        """How many of each one's circle go to which event."""
        circle = await self._friendships.find(
            {"user_id": {"$in": ids}, "kind": {"$in": ["friend", "following"]}},
            projection={"user_id": 1, "friend_id": 1, "_id": 0},
            limit=len(ids) * _FRIENDS_EACH,
        )
        whose: dict[str, set[str]] = defaultdict(set)
        for row in circle:
            whose[row["friend_id"]].add(row["user_id"])
        found: dict[str, Counter[str]] = defaultdict(Counter)
        if whose:
            rows = await self._rsvps.find(
                {"user_id": {"$in": list(whose)}, "status": {"$in": ["going", "interested"]}},
                projection={"user_id": 1, "event_id": 1, "_id": 0},
                limit=_MOST_PLANS,
            )
            for row in rows:
                for user_id in whose[row["user_id"]]:
                    found[user_id][row["event_id"]] += 1
        return found

    async def _blocked(self, ids: list[str]) -> Mapping[str, set[str]]:
        rows = await self._blocks.find(
            {"$or": [{"user_id": {"$in": ids}}, {"blocked_id": {"$in": ids}}]},
            projection={"user_id": 1, "blocked_id": 1, "_id": 0},
            limit=len(ids) * _ROWS_EACH,
        )
        found: dict[str, set[str]] = defaultdict(set)
        for row in rows:
            found[row["user_id"]].add(row["blocked_id"])
            found[row["blocked_id"]].add(row["user_id"])
        return found


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
