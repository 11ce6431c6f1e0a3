"""What a recommendation needs to know of a person, in real time: profile, past, the circle's plans, blocks.

Used by the recommendations operation. Kept in the two-level cache (Redis) under the person's own key and dropped as
soon as the person acts, so the next request sees it; what friends do is seen within `TTL_S`. MongoDB holds the truth:
with Redis away it is read there. Many people at once are read together. Every part is bounded.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

import msgspec

from cluster.kernel.clock import Clock
from serve_apps.contracts import ACTION_WEIGHTS, Acted, CirclePlans
from storage.cache import Cache, recommendations_cache_key
from storage.client import Database
from storage.dates import to_date, to_ms
from storage.devices import MOST_DEVICES
from storage.together import Together

TTL_S: Final = 30.0
MOST_HISTORY: Final = 50
MOST_KNOWN: Final = 500
MOST_IN_CIRCLE: Final = 500
"""Of one person; friends come first."""
MOST_PLANS: Final = 500
"""Of one circle; those answered last stay."""
_MOST_SIFTED: Final = 10_000
"""The most answers of one circle that are looked at to find the newest."""
_MOST_PLANNED: Final = 200
"""The most events; those that most of the circle plan stay."""
_ROWS_EACH: Final = 500
_MOST_ROWS: Final = 1 + 3 * _ROWS_EACH + MOST_DEVICES
_USER, _ANSWER, _ACTION, _DEVICE, _BLOCK = "user", "answer", "action", "device", "block"
_SETTLED: Final = frozenset(("attend", "check_in", "decline", "dismiss"))
_STATUS_ACTIONS: Final = {"going": "attend", "waiting": "attend", "interested": "interested", "declined": "decline"}


class PersonFeatures(msgspec.Struct, frozen=True, kw_only=True):
    """`known` are events that are no news: answered, gone to or dismissed. `history` is newest first. `circle_plans`
    are of public events that were not over when it was read, and count nobody whom a block keeps away: `blocked` are
    those people. `platform` is that of the device seen last which takes pushes."""

    interests: tuple[str, ...] = ()
    coordinates: tuple[float, float] | None = None
    known: tuple[str, ...] = ()
    history: tuple[Acted, ...] = ()
    circle_plans: tuple[CirclePlans, ...] = ()
    blocked: tuple[str, ...] = ()
    joined_ms: int | None = None
    platform: str | None = None


NOBODY: Final = PersonFeatures()
"""Somebody of whom nothing is known."""


def features_cache_key(user_id: str) -> str:
    return f"user:features:{user_id}"


class UserFeatures:
    def __init__(self, database: Database, cache: Cache, clock: Clock) -> None:
        self._users = database.collection("users")
        self._cache = cache
        self._clock = clock
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
        everything = _everything_of(ids, self._clock.now_ms())
        for row in await self._users.aggregate(everything, limit=len(ids) * _MOST_ROWS):
            found[row["of"]].append(row)
        platforms: dict[str, str] = {}
        for row in sorted(found[_DEVICE], key=lambda row: row["last_seen_ms"]):
            platforms[row["user_id"]] = row["platform"]  # the one seen last stays
        blocked: dict[str, set[str]] = defaultdict(set)
        for row in found[_BLOCK]:
            blocked[row["user_id"]].add(row["blocked_id"])
            blocked[row["blocked_id"]].add(row["user_id"])
        pasts = _pasts(found[_ANSWER], found[_ACTION])
        return {
            row["_id"]: msgspec.structs.replace(
                _features(row["profile"], pasts[row["_id"]]),
                circle_plans=_circle_plans(row, blocked[row["_id"]]),
                blocked=tuple(sorted(blocked[row["_id"]])[:MOST_KNOWN]),
                joined_ms=to_ms(row["createdAt"]),
                platform=platforms.get(row["_id"]),
            )
            for row in found[_USER]
        }


def _everything_of(ids: list[str], now_ms: int) -> list[dict[str, Any]]:
    """`of` tells what each row is; a person's own brings what the circle plans. Every part has a limit of its own."""
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
        *_with_plans(now_ms),
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


def _with_plans(now_ms: int) -> list[dict[str, Any]]:
    """Of each person `circle`, `plans` of those people, newest first, and which of the events are `live`.

    A lookup takes a whole list at once: one for each of its members costs ten times as much.
    """
    circle: list[dict[str, Any]] = [
        {"$match": {"kind": {"$in": ["friend", "following"]}}},
        {"$sort": {"kind": -1, "friend_id": -1}},  # the index backwards: friends first
        {"$limit": MOST_IN_CIRCLE},
        {"$project": {"friend_id": 1, "kind": 1, "_id": 0}},
    ]
    plans: list[dict[str, Any]] = [
        {"$match": {"status": {"$in": ["going", "interested"]}}},
        {"$limit": _MOST_SIFTED},
        {"$sort": {"at_ms": -1}},
        {"$limit": MOST_PLANS},
        {"$project": {"user_id": 1, "event_id": 1, "status": 1, "_id": 0}},
    ]
    live: list[dict[str, Any]] = [
        {"$match": {"visibility": "public", "datetime.end": {"$gte": to_date(now_ms)}}},
        {"$project": {"_id": 1}},
    ]
    return [
        _looked_up("circle", "friendships", "_id", "user_id", circle),
        _looked_up("plans", "rsvps", "circle.friend_id", "user_id", plans),
        _looked_up("live", "events", "plans.event_id", "_id", live),
    ]


def _looked_up(name: str, collection: str, local: str, foreign: str, stages: list[dict[str, Any]]) -> dict[str, Any]:
    keys = {"localField": local, "foreignField": foreign}
    return {"$lookup": {"from": collection, **keys, "pipeline": stages, "as": name}}


def _circle_plans(row: dict[str, Any], blocked: Collection[str]) -> tuple[CirclePlans, ...]:
    """Who is a friend and followed too has one answer an event, so nobody counts twice."""
    friends = {one["friend_id"] for one in row["circle"] if one["kind"] == "friend"}
    live = {one["_id"] for one in row["live"]}
    going: Counter[str] = Counter()
    circle: Counter[str] = Counter()
    for plan in row["plans"]:
        event_id, user_id = plan["event_id"], plan["user_id"]
        if event_id in live and user_id not in blocked:
            circle[event_id] += 1
            going[event_id] += plan["status"] == "going" and user_id in friends
    return tuple(CirclePlans(event_id, going[event_id], count) for event_id, count in circle.most_common(_MOST_PLANNED))


def _pasts(answers: Sequence[dict[str, Any]], actions: Sequence[dict[str, Any]]) -> Mapping[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in answers:
        action = _STATUS_ACTIONS.get(row["status"], "decline")
        found[row["user_id"]].append({**row, "action": action, "weight": ACTION_WEIGHTS[action], "answered": True})
    for row in actions:
        found[row["user_id"]].append(row)
    return found


def _features(profile: dict[str, Any], past: list[dict[str, Any]]) -> PersonFeatures:
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
    )
