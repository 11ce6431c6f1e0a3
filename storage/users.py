"""The `users` collection: accounts and profiles.

Used by login, by profiles and by whoever must know people's names and interests. Usernames and emails are unique
without case; emails are kept in lower case. It never checks a password and never decides who may see a profile.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final

from cluster.kernel.clock import Clock
from cluster.kernel.errors import INVALID_REQUEST, USER_NOT_FOUND, USERNAME_TAKEN, FlowError
from storage.bounds import check_batch
from storage.client import Database, Duplicate
from storage.dates import to_date, to_ms
from storage.records import User

_PROFILE_FIELDS: Final[dict[str, tuple[str, Callable[[Any], Any]]]] = {
    "name": ("profile.name", str),
    "bio": ("profile.bio", str),
    "avatar": ("profile.avatar", str),
    "interests": ("profile.interests", list),
    "traits": ("profile.traits", list),
    "notification_preferences": ("preferences.notifications", dict),
    "privacy": ("preferences.privacy", dict),
}


class MongoUsers:
    def __init__(self, database: Database, clock: Clock) -> None:
        self._users = database.collection("users")
        self._clock = clock

    async def create(self, user: User) -> None:
        """Idempotent by id. Raises FlowError USERNAME_TAKEN when the username or the email is another account's."""
        document = _document(user, self._clock.now_ms())
        try:
            await self._users.insert_one(document)
        except Duplicate as duplicate:
            same = {"_id": user.id, "usernameLower": document["usernameLower"], "passwordHash": user.password_hash}
            if await self._users.find_one(same, {"_id": 1}) is None:
                raise FlowError(USERNAME_TAKEN) from duplicate

    async def by_id(self, user_id: str) -> User | None:
        return _user_or_none(await self._users.find_one({"_id": user_id}))

    async def by_username(self, username: str) -> User | None:
        return _user_or_none(await self._users.find_one({"usernameLower": username.casefold()}))

    async def by_ids(self, user_ids: Sequence[str]) -> list[User]:
        """Those that exist, in the order of the ids."""
        check_batch(user_ids)
        if not user_ids:
            return []
        rows = await self._users.find({"_id": {"$in": list(user_ids)}}, limit=len(user_ids))
        found = {row["_id"]: _user(row) for row in rows}
        return [found[user_id] for user_id in user_ids if user_id in found]

    async def update_profile(self, user_id: str, changes: dict[str, Any]) -> User:
        """Change some of name, bio, avatar, interests, traits, coordinates, notification_preferences and privacy.

        Raises FlowError INVALID_REQUEST naming any other field, USER_NOT_FOUND.
        """
        unknown = tuple(sorted(changes.keys() - _PROFILE_FIELDS.keys() - {"coordinates"}))
        if unknown:
            raise FlowError(INVALID_REQUEST, f"A profile has no {', '.join(unknown)} to change.", fields=unknown)
        set_: dict[str, Any] = {"updatedAt": to_date(self._clock.now_ms())}
        for name, value in changes.items():
            if name != "coordinates":
                path, convert = _PROFILE_FIELDS[name]
                set_[path] = convert(value)
        update: dict[str, Any] = {"$set": set_}
        if "coordinates" in changes and changes["coordinates"] is None:
            update["$unset"] = {"profile.location": ""}
        elif "coordinates" in changes:
            set_["profile.location"] = _point(changes["coordinates"])
        return await self._change(user_id, update)

    async def set_password_hash(self, user_id: str, password_hash: str) -> None:
        """Raises FlowError USER_NOT_FOUND."""
        await self._change(user_id, {"$set": {"passwordHash": password_hash}})

    async def _change(self, user_id: str, update: dict[str, Any]) -> User:
        row = await self._users.find_one_and_update({"_id": user_id}, update)
        if row is None:
            raise FlowError(USER_NOT_FOUND)
        return _user(row)


def _point(coordinates: Sequence[float]) -> dict[str, Any]:
    """GeoJSON. Raises FlowError INVALID_REQUEST for a place that is not on the earth."""
    longitude, latitude = (float(degree) for degree in coordinates)
    if not (-180 <= longitude <= 180 and -90 <= latitude <= 90):
        raise FlowError(INVALID_REQUEST, "Coordinates are [longitude, latitude] in degrees.", fields=("coordinates",))
    return {"type": "Point", "coordinates": [longitude, latitude]}


def _document(user: User, now_ms: int) -> dict[str, Any]:
    profile: dict[str, Any] = {
        "name": user.name,
        "avatar": user.avatar,
        "bio": user.bio,
        "traits": list(user.traits),
        "interests": list(user.interests),
    }
    if user.coordinates is not None:
        profile["location"] = _point(user.coordinates)
    created_at = to_date(user.created_at_ms or now_ms)
    return {
        "_id": user.id,
        "username": user.username,
        "usernameLower": user.username.casefold(),
        "email": None if user.email is None else user.email.casefold(),
        "passwordHash": user.password_hash,
        "profile": profile,
        "gamification": {"points": user.points, "rating": user.rating},
        "preferences": {"notifications": user.notification_preferences, "privacy": user.privacy},
        "roles": list(user.roles),
        "createdAt": created_at,
        "updatedAt": created_at,
    }


def _user_or_none(row: dict[str, Any] | None) -> User | None:
    return None if row is None else _user(row)


def _user(row: dict[str, Any]) -> User:
    profile, gamification = row["profile"], row["gamification"]
    location = profile.get("location")
    coordinates: tuple[float, float] | None = tuple(location["coordinates"]) if location else None
    return User(
        id=row["_id"],
        username=row["username"],
        email=row["email"],
        password_hash=row["passwordHash"],
        name=profile["name"],
        bio=profile["bio"],
        avatar=profile["avatar"],
        interests=tuple(profile["interests"]),
        traits=tuple(profile["traits"]),
        coordinates=coordinates,
        points=gamification["points"],
        rating=gamification["rating"],
        roles=tuple(row["roles"]),
        notification_preferences=row["preferences"]["notifications"],
        privacy=row["preferences"].get("privacy", {}),
        created_at_ms=to_ms(row["createdAt"]),
    )
