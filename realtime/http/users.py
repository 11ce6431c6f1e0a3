"""Profiles: one's own, whole and to be changed, and other people's, as far as they show it.

What may be changed is an allow-list by shape: points, rating, roles, username and password are not in it.
"""

from typing import Any

from cluster.kernel.errors import USER_NOT_FOUND, FlowError
from realtime.http.fields import Nothing
from realtime.http.operations import AnyOperation, Call, Operation
from realtime.http.user_shapes import (
    OwnUser,
    PreferenceChanges,
    PrivacyChanges,
    PublicUser,
    UserChanges,
    own_user,
    privacy_changes,
    profile_changes,
    public_user,
)
from storage.records import User


async def read_own(call: Call[Nothing, Nothing]) -> OwnUser:
    return own_user(await _user(call, call.caller.user_id))


async def change_own(call: Call[UserChanges, Nothing]) -> OwnUser:
    """Change what was given and nothing else."""
    user = await _user(call, call.caller.user_id)
    changes = profile_changes(call.body) | _preference_changes(call.body.preferences, user)
    if changes:
        user = await call.context.storage.users.update_profile(user.id, changes)
        await call.context.storage.user_features.acted(user.id)
    return own_user(user)


async def read_other(call: Call[Nothing, Nothing]) -> PublicUser:
    user = await _user(call, call.path["id"])
    own = user.id == call.caller.user_id
    is_friend = not own and await call.context.storage.friendships.are_friends(user.id, call.caller.user_id)
    return public_user(user, shows_all=own or is_friend, is_friend=is_friend)


async def _user(call: Call[Any, Any], user_id: str) -> User:
    user = await call.context.storage.users.by_id(user_id)
    if user is None:
        raise FlowError(USER_NOT_FOUND)
    return user


def _preference_changes(given: Any, user: User) -> dict[str, Any]:
    """Preferences are kept as whole maps: what was given is laid over what was there."""
    if not isinstance(given, PreferenceChanges):
        return {}
    changes: dict[str, Any] = {}
    if isinstance(given.notifications, dict):
        changes["notification_preferences"] = {**user.notification_preferences, **given.notifications}
    if isinstance(given.privacy, PrivacyChanges):
        changes["privacy"] = {**user.privacy, **privacy_changes(given.privacy)}
    return changes


OPERATIONS: tuple[AnyOperation, ...] = (
    Operation(
        method="GET",
        path="/v1/users/me",
        summary="Your own account and profile.",
        tag="People",
        handle=read_own,
        body=Nothing,
        query=Nothing,
        reply=OwnUser,
    ),
    Operation(
        method="PATCH",
        path="/v1/users/me",
        summary="Change your profile and preferences; what is left out stays.",
        tag="People",
        handle=change_own,
        body=UserChanges,
        query=Nothing,
        reply=OwnUser,
    ),
    Operation(
        method="GET",
        path="/v1/users/{id}",
        summary="Somebody's profile, as far as they show it to you.",
        tag="People",
        handle=read_other,
        body=Nothing,
        query=Nothing,
        reply=PublicUser,
        errors=(USER_NOT_FOUND,),
    ),
)
