"""People to meet: whom the index finds, who is hidden, and what the matcher may know of them."""

from typing import Any

import pytest

from cluster.kernel.errors import OVERLOADED, UNAVAILABLE, ErrorKind, FlowError
from storage.records import Rsvp
from tests.http.conftest import StartApi
from tests.http.harness import Api, Someone

pytestmark = pytest.mark.storage

BERLIN = {"type": "Point", "coordinates": [13.4, 52.5]}
POTSDAM = {"type": "Point", "coordinates": [13.06, 52.4]}
PARIS = {"type": "Point", "coordinates": [2.35, 48.85]}
OPEN = {"privacy": {"showLocation": True, "showInterests": True}}


async def someone(api: Api, place: Any = BERLIN, interests: tuple[str, ...] = (), **preferences: Any) -> Someone:
    who = await api.someone(location=place, interests=list(interests))
    body = {"preferences": preferences or OPEN}
    assert (await api.call("PATCH", "/v1/users/me", body, who=who)).status == 200
    return who


async def to_meet(api: Api, who: Someone, **params: Any) -> dict[str, Any]:
    answer = await api.call("GET", "/v1/people/recommended", who=who, params=params)
    assert answer.status == 200, answer
    assert answer.body["next"] is None
    return answer.body


def ids(answer: dict[str, Any]) -> list[str]:
    return [item["id"] for item in answer["items"]]


async def befriend(api: Api, one: Someone, two: Someone) -> None:
    for who, other in ((one, two), (two, one)):
        assert (await api.call("POST", f"/v1/users/me/friends/{other.id}", who=who)).status == 200


async def go(api: Api, who: Someone, event_id: str, status: str = "interested") -> None:
    row = Rsvp(event_id=event_id, user_id=who.id, status=status, epoch=0, at_ms=api.clock.now_ms())
    assert (await api.context.storage.rsvps.append([row], [False])).refusal is None


async def test_nearby_is_who_is_within_reach_and_shows_it(api: Api) -> None:
    ada = await someone(api, interests=("jazz",))
    near, there = await someone(api, POTSDAM, ("jazz", "chess")), await someone(api, PARIS)
    hidden = await someone(api, BERLIN, ("jazz",), privacy={"showLocation": False, "showInterests": True})
    answer = await to_meet(api, ada)
    assert ids(answer) == [near.id]
    assert (answer["matcher"], answer["fallback"]) == ("scripted", False)
    assert answer["items"][0]["because"] == ["You both like jazz."]
    assert ids(await to_meet(api, ada, near="2.35,48.85")) == [there.id]
    assert ids(await to_meet(api, ada, radiusKm=10)) == []
    assert hidden.id not in ids(answer)


async def test_what_is_not_shown_takes_no_part(api: Api) -> None:
    ada = await someone(api, interests=("jazz",))
    shy = await someone(api, BERLIN, ("jazz",), privacy={"showLocation": True, "showInterests": False})
    [item] = (await to_meet(api, ada))["items"]
    assert item["id"] == shy.id
    assert item["because"] == []
    assert "interests" not in item["profile"]
    [asked] = api.recommender.matches
    assert asked.others[0].interests == ()


async def test_blocks_hide_either_from_the_other(api: Api) -> None:
    ada, bob = await someone(api), await someone(api)
    assert ids(await to_meet(api, ada)) == [bob.id]
    assert (await api.call("POST", f"/v1/users/me/blocks/{bob.id}", who=ada)).status == 204
    assert (await api.call("POST", f"/v1/users/me/blocks/{bob.id}", who=ada)).status == 204
    assert ids(await to_meet(api, ada)) == ids(await to_meet(api, bob)) == []
    listed = await api.call("GET", "/v1/users/me/blocks", who=ada)
    assert [item["id"] for item in listed.body["items"]] == [bob.id]
    assert (await api.call("DELETE", f"/v1/users/me/blocks/{bob.id}", who=ada)).status == 204
    assert ids(await to_meet(api, bob)) == [ada.id]
    assert (await api.call("POST", f"/v1/users/me/blocks/{ada.id}", who=ada)).code == "invalid_request"
    assert (await api.call("POST", f"/v1/users/me/blocks/{'f' * 24}", who=ada)).code == "user_not_found"


async def test_friends_are_known_already_and_what_one_shares_with_others(api: Api) -> None:
    ada, bob, eve = [await someone(api) for _ in range(3)]
    await befriend(api, ada, bob)
    await befriend(api, bob, eve)
    answer = await to_meet(api, ada)
    assert ids(answer) == [eve.id]
    assert answer["items"][0]["because"] == ["You have a friend in common."]
    assert api.recommender.matches[0].others[0].mutual_friends == 1


async def test_at_an_event_are_those_who_said_they_come(api: Api) -> None:
    host, ada, bob, eve = [await someone(api, PARIS) for _ in range(4)]
    event = await api.event(host)
    await go(api, bob, event["id"])
    await go(api, eve, event["id"], "declined")
    assert ids(await to_meet(api, ada, eventId=event["id"])) == [bob.id]
    secret = await api.event(host, visibility="private")
    refused = await api.call("GET", f"/v1/people/recommended?eventId={secret['id']}", who=ada)
    assert refused.code == "forbidden"
    missing = await api.call("GET", f"/v1/people/recommended?eventId={'f' * 24}", who=ada)
    assert missing.code == "event_not_found"


@pytest.mark.parametrize("kind", [UNAVAILABLE, OVERLOADED])
async def test_a_matcher_that_is_away_is_replaced_by_the_index_and_marked(api: Api, kind: ErrorKind) -> None:
    ada, bob = await someone(api), await someone(api)
    api.recommender.error = FlowError(kind)
    answer = await to_meet(api, ada)
    assert ids(answer) == [bob.id]
    assert (answer["fallback"], answer["matcher"], answer["items"][0]["score"]) == (True, None, None)


async def test_without_a_recommender_or_a_place(start: StartApi) -> None:
    api = await start(recommender=None)
    ada, lost = await someone(api), await api.someone()
    assert ids(await to_meet(api, lost)) == []
    assert ids(await to_meet(api, lost, near="13.4,52.5")) == [ada.id]


@pytest.mark.parametrize(
    ("query", "fields"),
    [
        ("near=here", ["near"]),
        ("near=181,0", ["near"]),
        ("radiusKm=0", ["radiusKm"]),
        ("limit=101", ["limit"]),
        ("near=1,1&eventId=" + "f" * 24, ["eventId", "near"]),
    ],
)
async def test_bad_queries_are_refused(api: Api, query: str, fields: list[str]) -> None:
    refused = await api.call("GET", f"/v1/people/recommended?{query}", who=await someone(api))
    assert (refused.code, refused.body["fields"]) == ("invalid_request", fields)
