"""Profiles, privacy, devices and friends."""

from typing import Any

import pytest

from tests.http.harness import Api, Someone

pytestmark = pytest.mark.storage

NOBODY = "f" * 24

FULL = {
    "profile": {
        "name": "Ada L.",
        "bio": "Engines.",
        "avatar": "https://example.org/ada.png",
        "interests": ["Python", "python", " Jazz "],
        "traits": ["curious"],
        "location": {"type": "Point", "coordinates": [13.4, 52.5]},
    },
    "preferences": {"notifications": {"chat_message": False}, "privacy": {"showBio": True}},
}


async def read_by(api: Api, reader: Someone, user_id: str) -> dict[str, Any]:
    answer = await api.call("GET", f"/v1/users/{user_id}", who=reader)
    assert answer.status == 200, answer
    return answer.body


async def test_a_profile_is_changed_field_by_field_and_the_rest_stays(api: Api) -> None:
    ada = await api.someone()
    changed = (await api.call("PATCH", "/v1/users/me", FULL, who=ada)).body
    assert changed["profile"]["interests"] == ["python", "jazz"]
    assert changed["preferences"] == {
        "notifications": {"chat_message": False},
        "privacy": {"showBio": True, "showLocation": False, "showInterests": False},
    }
    later = await api.call(
        "PATCH",
        "/v1/users/me",
        {"profile": {"location": None}, "preferences": {"notifications": {"event_update": True}}},
        who=ada,
    )
    assert later.body["profile"] == {**changed["profile"], "location": None}
    assert later.body["preferences"]["notifications"] == {"chat_message": False, "event_update": True}
    assert later.body["preferences"]["privacy"]["showBio"] is True
    assert (await api.call("GET", "/v1/users/me", who=ada)).body == later.body
    assert (await api.call("PATCH", "/v1/users/me", {}, who=ada)).body == later.body


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"username": "root"}, "username"),
        ({"roles": ["admin"]}, "roles"),
        ({"gamification": {"points": 10_000}}, "gamification"),
        ({"password": "another one"}, "password"),
        ({"passwordHash": "x"}, "passwordHash"),
        ({"profile": {"points": 5}}, "profile.points"),
        ({"profile": {"name": ""}}, "profile.name"),
        ({"profile": {"avatar": "http://example.org/a.png"}}, "profile.avatar"),
        ({"profile": {"bio": "x" * 1_001}}, "profile.bio"),
        ({"profile": {"interests": [{"$gt": ""}]}}, "profile.interests[0]"),
        ({"preferences": {"privacy": {"showEmail": True}}}, "preferences.privacy.showEmail"),
        ({"preferences": {"notifications": {"a.b": True}}}, "preferences.notifications"),
        ({"preferences": {"notifications": {"$set": True}}}, "preferences.notifications"),
        ({"preferences": {"notifications": {"chat_message": "yes"}}}, "preferences.notifications"),
    ],
)
async def test_nothing_but_the_profile_can_be_changed(api: Api, change: dict[str, Any], field: str) -> None:
    ada = await api.someone()
    refused = await api.call("PATCH", "/v1/users/me", change, who=ada)
    assert (refused.status, refused.code) == (400, "invalid_request")
    assert [name.split("[")[0] for name in refused.body["fields"]] == [field.split("[")[0]]


async def test_strangers_see_name_and_avatar_and_what_flags_show(api: Api) -> None:
    ada, grace = await api.someone(email="private@example.org"), await api.someone()
    _ = await api.call("PATCH", "/v1/users/me", {"profile": FULL["profile"]}, who=ada)
    seen = await read_by(api, grace, ada.id)
    assert seen["profile"] == {"name": "Ada L.", "avatar": "https://example.org/ada.png"}
    assert set(seen) == {"id", "username", "profile", "isFriend"}
    assert seen["isFriend"] is False
    flags = {
        "showBio": {"bio"},
        "showLocation": {"location"},
        "showInterests": {"interests", "traits"},
    }
    for flag, fields in flags.items():
        _ = await api.call("PATCH", "/v1/users/me", {"preferences": {"privacy": {flag: True}}}, who=ada)
        assert set((await read_by(api, grace, ada.id))["profile"]) == {"name", "avatar"} | fields
        _ = await api.call("PATCH", "/v1/users/me", {"preferences": {"privacy": {flag: False}}}, who=ada)
    assert set((await read_by(api, grace, ada.id))["profile"]) == {"name", "avatar"}


async def test_friends_see_everything_until_they_are_no_friends(api: Api) -> None:
    ada, grace = await api.someone(), await api.someone()
    _ = await api.call("PATCH", "/v1/users/me", {"profile": FULL["profile"]}, who=ada)
    asked = await api.call("POST", f"/v1/users/me/friends/{ada.id}", who=grace)
    assert asked.body == {"status": "asked"}
    assert set((await read_by(api, grace, ada.id))["profile"]) == {"name", "avatar"}, "asking alone opens nothing"
    asking = await api.call("GET", "/v1/users/me/friends", who=ada, params={"show": "asking"})
    assert [person["id"] for person in asking.body["items"]] == [grace.id]
    assert (await api.call("POST", f"/v1/users/me/friends/{grace.id}", who=ada)).body == {"status": "friend"}
    seen = await read_by(api, grace, ada.id)
    assert seen["isFriend"] is True
    assert set(seen["profile"]) == {"name", "avatar", "bio", "location", "interests", "traits"}
    assert "email" not in seen
    for _ in range(2):
        assert (await api.call("DELETE", f"/v1/users/me/friends/{ada.id}", who=grace)).status == 204
    assert set((await read_by(api, grace, ada.id))["profile"]) == {"name", "avatar"}


async def test_a_person_sees_all_of_their_own_public_page(api: Api) -> None:
    ada = await api.someone()
    _ = await api.call("PATCH", "/v1/users/me", {"profile": FULL["profile"]}, who=ada)
    assert (await read_by(api, ada, ada.id))["profile"]["bio"] == "Engines."


async def test_friends_are_listed_page_by_page(api: Api) -> None:
    ada = await api.someone()
    friends = [await api.someone() for _ in range(5)]
    for friend in friends:
        _ = await api.call("POST", f"/v1/users/me/friends/{ada.id}", who=friend)
        _ = await api.call("POST", f"/v1/users/me/friends/{friend.id}", who=ada)
    for limit in (1, 2, 5):
        listed = await api.walk("/v1/users/me/friends", who=ada, limit=limit)
        assert [person["id"] for person in listed] == sorted(friend.id for friend in friends)


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", f"/v1/users/{NOBODY}", 404, "user_not_found"),
        ("GET", "/v1/users/not-an-id", 404, "not_found"),
        ("POST", f"/v1/users/me/friends/{NOBODY}", 404, "user_not_found"),
        ("DELETE", f"/v1/users/me/friends/{NOBODY}", 204, ""),
    ],
)
async def test_people_who_do_not_exist(api: Api, method: str, path: str, status: int, code: str) -> None:
    ada = await api.someone()
    answer = await api.call(method, path, who=ada)
    assert answer.status == status
    assert not code or answer.code == code


async def test_nobody_befriends_themselves(api: Api) -> None:
    ada = await api.someone()
    assert (await api.call("POST", f"/v1/users/me/friends/{ada.id}", who=ada)).code == "invalid_request"


async def test_devices_are_registered_moved_and_removed(api: Api) -> None:
    ada, grace = await api.someone(), await api.someone()
    devices = api.context.storage.devices
    phone = {"kind": "token", "value": "fcm:token-1", "platform": "android"}
    for _ in range(2):
        assert (await api.call("POST", "/v1/users/me/devices", phone, who=ada)).status == 204
    [kept] = await devices.of_users([ada.id])
    assert (kept.kind, kept.value, kept.platform) == ("token", "fcm:token-1", "android")
    _ = await api.call("POST", "/v1/users/me/devices", phone, who=grace)
    assert await devices.of_users([ada.id]) == []
    [moved] = await devices.of_users([grace.id])
    assert moved.id != kept.id, "what is owed to the first owner must not reach the second"
    assert (await api.call("DELETE", "/v1/users/me/devices", {"value": "fcm:token-1"}, who=ada)).status == 204
    assert len(await devices.of_users([grace.id])) == 1, "only one's own device is removed"
    assert (await api.call("DELETE", "/v1/users/me/devices", phone, who=grace)).status == 204
    assert await devices.of_users([grace.id]) == []


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"value": "x", "platform": "ios"}, "kind"),
        ({"kind": "apns", "value": "x", "platform": "ios"}, "kind"),
        ({"kind": "fid", "value": "", "platform": "ios"}, "value"),
        ({"kind": "fid", "value": "a b", "platform": "ios"}, "value"),
        ({"kind": "fid", "value": "x" * 4_097, "platform": "ios"}, "value"),
        ({"kind": "fid", "value": "x", "platform": "fridge"}, "platform"),
        ({"kind": "fid", "value": "x", "platform": "ios", "userId": NOBODY}, "userId"),
    ],
)
async def test_bad_devices_are_refused(api: Api, body: dict[str, Any], field: str) -> None:
    ada = await api.someone()
    refused = await api.call("POST", "/v1/users/me/devices", body, who=ada)
    assert (refused.code, refused.body["fields"]) == ("invalid_request", [field])


async def test_an_account_that_is_gone_is_not_found_though_its_token_still_is_valid(api: Api) -> None:
    token, _ = api.context.tokens.issue(NOBODY, "ghost", "session")
    assert (await api.call("GET", "/v1/users/me", token=token)).code == "user_not_found"
