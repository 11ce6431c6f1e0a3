"""Inviting to an event: who may, who then sees it everywhere HTTP shows events, and how it is taken back."""

import pytest

from tests.http.harness import Api

pytestmark = pytest.mark.storage


async def test_who_is_invited_sees_a_private_event_and_who_is_not_does_not(api: Api) -> None:
    ada, bob, cyd = [await api.someone() for _ in range(3)]
    event = await api.event(ada, visibility="private")
    path = f"/v1/events/{event['id']}"
    assert (await api.call("GET", path, who=bob)).code == "forbidden"
    invited = await api.call("POST", f"{path}/invitations", {"userIds": [bob.id, bob.id]}, who=ada)
    assert invited.status == 204
    assert (await api.call("GET", path, who=bob)).status == 200
    assert (await api.call("GET", f"{path}/attendees", who=bob)).status == 200
    for hidden in (path, f"{path}/attendees"):
        assert (await api.call("GET", hidden, who=cyd)).code == "forbidden"
    told = {"eventId": event["id"], "action": "view"}
    assert (await api.call("POST", "/v1/interactions", told, who=bob)).status == 200
    assert (await api.call("POST", "/v1/interactions", told, who=cyd)).code == "event_not_found"


@pytest.mark.parametrize("visibility", ["private", "group-only"])
async def test_what_is_not_public_is_in_no_list_and_no_search(api: Api, visibility: str) -> None:
    ada, bob = await api.someone(), await api.someone()
    event = await api.event(ada, visibility=visibility, title="Zanzibar supper")
    await api.call("POST", f"/v1/events/{event['id']}/invitations", {"userIds": [bob.id]}, who=ada)
    for query in ("", "?q=zanzibar", "?near=13.405,52.52", "?category=music", "?tag=jazz"):
        listed = await api.call("GET", f"/v1/events{query}", who=bob)
        assert [item["id"] for item in listed.body["items"]] == []
    mine = await api.call("GET", "/v1/events?mine=true", who=ada)
    assert [item["id"] for item in mine.body["items"]] == [event["id"]]


async def test_an_invitation_is_listed_page_by_page_and_taken_back(api: Api) -> None:
    ada = await api.someone()
    people = [await api.someone() for _ in range(5)]
    event = await api.event(ada, visibility="private")
    path = f"/v1/events/{event['id']}/invitations"
    await api.call("POST", path, {"userIds": [who.id for who in people]}, who=ada)
    for limit in (1, 2, 5):
        listed = await api.walk(path, who=ada, limit=limit)
        assert [item["id"] for item in listed] == sorted(who.id for who in people)
    assert {frozenset(item) for item in listed} == {frozenset({"id", "name", "avatar"})}
    for _ in range(2):
        assert (await api.call("DELETE", f"{path}/{people[0].id}", who=ada)).status == 204
    assert (await api.call("GET", f"/v1/events/{event['id']}", who=people[0])).code == "forbidden"
    assert len(await api.walk(path, who=ada)) == 4


async def test_only_the_organizer_invites_lists_and_takes_back(api: Api) -> None:
    ada, bob, cyd = [await api.someone() for _ in range(3)]
    event = await api.event(ada)
    path = f"/v1/events/{event['id']}/invitations"
    await api.call("POST", path, {"userIds": [bob.id]}, who=ada)
    for method, where, body in (
        ("POST", path, {"userIds": [cyd.id]}),
        ("GET", path, None),
        ("DELETE", f"{path}/{bob.id}", None),
    ):
        refused = await api.call(method, where, body, who=bob)
        assert (refused.status, refused.code) == (403, "forbidden")
    assert [item["id"] for item in await api.walk(path, who=ada)] == [bob.id]


async def test_nobody_is_invited_when_one_of_them_does_not_exist(api: Api) -> None:
    ada, bob = await api.someone(), await api.someone()
    event = await api.event(ada, visibility="private")
    path = f"/v1/events/{event['id']}/invitations"
    refused = await api.call("POST", path, {"userIds": [bob.id, "0" * 24]}, who=ada)
    assert (refused.code, refused.body["fields"]) == ("user_not_found", ["userIds"])
    assert await api.walk(path, who=ada) == []


@pytest.mark.parametrize(
    "body", [{}, {"userIds": []}, {"userIds": ["x"]}, {"userIds": ["a" * 24] * 101}, {"userIds": ["a" * 24], "x": 1}]
)
async def test_a_bad_list_of_people_is_refused(api: Api, body: dict[str, object]) -> None:
    ada = await api.someone()
    event = await api.event(ada)
    assert (await api.call("POST", f"/v1/events/{event['id']}/invitations", body, who=ada)).code == "invalid_request"


async def test_an_event_or_a_person_that_is_none_is_not_found(api: Api) -> None:
    ada = await api.someone()
    event = await api.event(ada)
    body = {"userIds": [ada.id]}
    assert (await api.call("POST", f"/v1/events/{'0' * 24}/invitations", body, who=ada)).code == "event_not_found"
    assert (await api.call("DELETE", f"/v1/events/{event['id']}/invitations/x", who=ada)).code == "not_found"
