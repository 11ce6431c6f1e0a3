"""The shapes of people: what they may say of themselves, and what others may see.

Used by the auth, users, friends and attendees operations. `PublicUser` is all that a stranger gets; `OwnUser` is for
its owner alone. No shape has a place for a password hash.
"""

from typing import Annotated, Any, Final

import msgspec
from msgspec import UNSET, Meta, UnsetType

from realtime.http.fields import Answer, Avatar, Bio, PersonName, Point, SentMoment, Strict, Tags, moment, tidy_tags
from storage.records import User

PRIVACY_FLAGS: Final = ("showBio", "showLocation", "showInterests")

NotificationType = Annotated[str, Meta(pattern="^[a-z][a-z0-9_]{0,39}(?!\n)$")]


class ProfileChanges(Strict, frozen=True):
    """What is given replaces what was there."""

    name: PersonName | UnsetType = UNSET
    bio: Bio | UnsetType = UNSET
    avatar: Avatar | UnsetType = UNSET
    interests: Tags | UnsetType = UNSET
    traits: Tags | UnsetType = UNSET
    location: Point | UnsetType | None = UNSET


class PrivacyChanges(Strict, frozen=True):
    """What strangers may see; friends see all of it."""

    show_bio: bool | UnsetType = UNSET
    show_location: bool | UnsetType = UNSET
    show_interests: bool | UnsetType = UNSET


class PreferenceChanges(Strict, frozen=True):
    """`notifications` turns kinds of notification on and off; the kinds that are not named stay as they are."""

    notifications: Annotated[dict[NotificationType, bool], Meta(max_length=32)] | UnsetType = UNSET
    privacy: PrivacyChanges | UnsetType = UNSET


class UserChanges(Strict, frozen=True):
    """PATCH /v1/users/me."""

    profile: ProfileChanges | UnsetType = UNSET
    preferences: PreferenceChanges | UnsetType = UNSET


class Profile(Answer, frozen=True, omit_defaults=True):
    """Fields that the reader may not see are left out."""

    name: str
    avatar: str = msgspec.field(default_factory=lambda: "")
    bio: str | UnsetType = UNSET
    location: Point | UnsetType | None = UNSET
    traits: tuple[str, ...] | UnsetType = UNSET
    interests: tuple[str, ...] | UnsetType = UNSET


class PublicUser(Answer, frozen=True):
    """Somebody, as another person sees them."""

    id: str
    username: str
    profile: Profile
    is_friend: bool = False


class Gamification(Answer, frozen=True):
    points: int
    rating: float


class Preferences(Answer, frozen=True):
    notifications: dict[str, bool]
    privacy: dict[str, bool]


class OwnUser(Answer, frozen=True):
    """Oneself."""

    id: str
    username: str
    email: str | None
    profile: Profile
    gamification: Gamification
    preferences: Preferences
    roles: tuple[str, ...]
    created_at: SentMoment


class Person(Answer, frozen=True):
    """The shortest form of somebody, for lists."""

    id: str
    name: str
    avatar: str


def _location(user: User) -> Point | None:
    return None if user.coordinates is None else Point(type="Point", coordinates=user.coordinates)


def privacy_of(user: User) -> dict[str, bool]:
    """Every flag; what was never set is private."""
    return {flag: user.privacy.get(flag, False) for flag in PRIVACY_FLAGS}


def own_user(user: User) -> OwnUser:
    return OwnUser(
        id=user.id,
        username=user.username,
        email=user.email,
        profile=Profile(
            name=user.name,
            avatar=user.avatar,
            bio=user.bio,
            location=_location(user),
            traits=user.traits,
            interests=user.interests,
        ),
        gamification=Gamification(points=user.points, rating=user.rating),
        preferences=Preferences(notifications=dict(user.notification_preferences), privacy=privacy_of(user)),
        roles=user.roles,
        created_at=moment(user.created_at_ms),
    )


def public_user(user: User, *, shows_all: bool, is_friend: bool) -> PublicUser:
    """Name and avatar for everybody; the rest for friends, or where its flag says so. Traits go with the interests."""
    shown = privacy_of(user)
    show_interests = shows_all or shown["showInterests"]
    profile = Profile(
        name=user.name,
        avatar=user.avatar,
        bio=user.bio if shows_all or shown["showBio"] else UNSET,
        location=_location(user) if shows_all or shown["showLocation"] else UNSET,
        traits=user.traits if show_interests else UNSET,
        interests=user.interests if show_interests else UNSET,
    )
    return PublicUser(id=user.id, username=user.username, profile=profile, is_friend=is_friend)


def privacy_changes(changes: PrivacyChanges) -> dict[str, bool]:
    """The flags that were given, by their names on the wire."""
    return {name: value for name, value in msgspec.to_builtins(changes).items() if name in PRIVACY_FLAGS}


def person(user: User) -> Person:
    return Person(id=user.id, name=user.name, avatar=user.avatar)


def profile_changes(changes: UserChanges) -> dict[str, Any]:
    """The changes under the names of `storage.records.User`."""
    found: dict[str, Any] = {}
    if isinstance(changes.profile, ProfileChanges):
        given = changes.profile
        for name in ("name", "bio", "avatar"):
            found[name] = getattr(given, name)
        for name in ("interests", "traits"):
            tags = getattr(given, name)
            found[name] = tags if tags is UNSET else tidy_tags(tags)
        found["coordinates"] = given.location.coordinates if isinstance(given.location, Point) else given.location
    return {name: value for name, value in found.items() if value is not UNSET}
