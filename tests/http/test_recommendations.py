"""Recommendations: by the model when it can, by what trends and what is near when it cannot."""

import asyncio
from typing import Any

import pytest

from cluster.kernel.errors import OVERLOADED, UNAVAILABLE, ErrorKind, FlowError
from realtime.http.settings import ApiSettings
from storage.dates import to_date, to_iso
from storage.records import Rsvp
from tests.http.conftest import StartApi
from tests.http.harness import Api, Someone

pytestmark = pytest.mark.storage

PARIS = {"type": "Point", "coordinates": [2.35, 48.85]}


async def picks(api: Api, who: Someone, **params: Any) -> dict[str, Any]:
    answer = await api.call("GET", "/v1/recommendations", who=who, params=params)
    assert answer.status == 200, answer
    assert answer.body["next"] is None
    return answer.body


def ids(answer: dict[str, Any]) -> list[str]:
    return [item["id"] for item in answer["items"]]


async def see(api: Api, event: dict[str, Any], times: int = 1) -> None:
    """Make an event trend: so many people looked at it."""
    for _ in range(times):
        who = await api.someone()
        body = {"eventId": event["id"], "action": "interested"}
        assert (await api.call("POST", "/v1/interactions", body, who=who)).status == 200


async def go(api: Api, who: Someone, event: dict[str, Any], status: str = "going") -> None:
    seat = 1 if status == "going" else None
    answer = Rsvp(event_id=event["id"], user_id=who.id, status=status, epoch=0, at_ms=api.clock.now_ms(), seat=seat)
    assert (await api.context.storage.rsvps.append([answer], [False])).refusal is None


async def test_the_model_decides_when_it_answers(api: Api) -> None:
    host, ada = await api.someone(), await api.someone(interests=["jazz"], location=PARIS)
    events = [await api.event(host, title=f"Event {n}") for n in range(3)]
    await see(api, events[0], 2)
    api.recommender.events = [(events[2]["id"], 0.9), (events[1]["id"], 0.4)]
    answer = await picks(api, ada, limit=2)
    assert ids(answer) == [events[2]["id"], events[1]["id"]]
    assert answer["fallback"] is False
    assert answer["modelVersion"] == "2026-01-01"
    assert answer["type"] == "ai_personalized"
    assert [(item["reason"], item["score"]) for item in answer["items"]] == [
        ("ai_personalized", 0.9),
        ("ai_personalized", 0.4),
    ]
    [asked] = api.recommender.requests
    assert (asked.user_id, asked.interests, asked.coordinates) == (ada.id, ("jazz",), (2.35, 48.85))
    assert asked.deadline_ms == 300
    assert 1 <= asked.limit <= 100


@pytest.mark.parametrize("kind", [UNAVAILABLE, OVERLOADED])
async def test_a_model_that_is_away_is_replaced_by_what_trends_and_what_is_near(api: Api, kind: ErrorKind) -> None:
    host, ada = await api.someone(), await api.someone(location=PARIS)
    near = await api.event(host, location=PARIS)
    hot = await api.event(host, location={"type": "Point", "coordinates": [100.0, 10.0]})
    await see(api, hot)
    api.recommender.error = FlowError(kind)
    answer = await picks(api, ada, limit=2)
    assert {item["id"]: item["reason"] for item in answer["items"]} == {hot["id"]: "trending", near["id"]: "nearby"}
    assert answer["fallback"] is True
    assert answer["modelVersion"] is None


async def test_a_model_that_is_late_is_not_waited_for(start: StartApi) -> None:
    api = await start(ApiSettings(recommendation_deadline_ms=20))
    host, ada = await api.someone(), await api.someone()
    event = await api.event(host)
    api.recommender.is_late = True
    async with asyncio.timeout(5):
        answer = await picks(api, ada)
    assert ids(answer) == [event["id"]]
    assert answer["items"][0]["reason"] == "upcoming"
    assert answer["fallback"] is True


async def test_no_model_at_all(start: StartApi) -> None:
    api = await start(recommender=None)
    ada = await api.someone()
    answer = await picks(api, ada)
    assert (answer["items"], answer["fallback"], answer["modelVersion"]) == ([], True, None)


async def test_too_few_are_filled_up_and_marked(api: Api) -> None:
    host, ada = await api.someone(), await api.someone()
    events = [await api.event(host, title=f"Event {n}") for n in range(3)]
    await see(api, events[1])
    api.recommender.events = [(events[0]["id"], 0.9)]
    answer = await picks(api, ada, limit=3)
    assert [(item["id"], item["reason"]) for item in answer["items"]] == [
        (events[0]["id"], "ai_personalized"),
        (events[1]["id"], "trending"),
        (events[2]["id"], "upcoming"),
    ]
    assert answer["fallback"] is True
    assert answer["modelVersion"] == "2026-01-01"


async def test_what_the_model_should_not_have_said_is_left_out(api: Api) -> None:
    host, ada = await api.someone(), await api.someone()
    past = await api.event(host, datetime={"start": "2020-01-01T00:00:00Z", "end": "2020-01-01T01:00:00Z"})
    hidden = await api.event(host, visibility="private")
    own = await api.event(ada)
    answered = await api.event(host)
    good = await api.event(host)
    await go(api, ada, answered, "declined")
    wrong = [past["id"], hidden["id"], own["id"], answered["id"], "f" * 24]
    api.recommender.events = [(event_id, 0.9) for event_id in (*wrong, good["id"], good["id"])]
    answer = await picks(api, ada, limit=1)
    assert ids(answer) == [good["id"]]
    assert answer["fallback"] is False
    assert api.recommender.requests[0].exclude_event_ids == (answered["id"],)


@pytest.mark.parametrize("action", ["attend", "dismiss"])
async def test_what_a_person_went_to_or_dismissed_is_not_recommended_again(api: Api, action: str) -> None:
    host, ada = await api.someone(), await api.someone()
    event = await api.event(host)
    await see(api, event, 2)
    assert ids(await picks(api, ada, type="trending")) == [event["id"]]
    _ = await api.call("POST", "/v1/interactions", {"eventId": event["id"], "action": action}, who=ada)
    for kind in ("ai_personalized", "trending", "nearby"):
        assert ids(await picks(api, ada, type=kind)) == []


async def test_trending_is_by_what_people_do(api: Api) -> None:
    host, ada = await api.someone(), await api.someone()
    cold, warm, hot = [await api.event(host, title=title) for title in ("cold", "warm", "hot")]
    await see(api, warm, 1)
    await see(api, hot, 3)
    answer = await picks(api, ada, type="trending", limit=2)
    assert ids(answer) == [hot["id"], warm["id"]]
    assert answer["fallback"] is False
    everything = await picks(api, ada, type="trending")
    assert ids(everything)[2:] == [cold["id"]]
    assert everything["items"][2]["reason"] == "upcoming"
    assert everything["fallback"] is True


async def test_nearby_is_by_where_the_person_is_or_says_to_be(api: Api) -> None:
    host, ada = await api.someone(), await api.someone(location=PARIS)
    berlin, paris = await api.event(host), await api.event(host, location=PARIS)
    assert ids(await picks(api, ada, type="nearby", limit=1)) == [paris["id"]]
    there = await picks(api, ada, type="nearby", lng=13.4, lat=52.5, limit=1)
    assert ids(there) == [berlin["id"]]
    assert there["fallback"] is False
    assert there["items"][0]["reason"] == "nearby"


async def test_nearby_without_a_place_is_a_fallback(api: Api) -> None:
    host, ada = await api.someone(), await api.someone()
    event = await api.event(host)
    await see(api, event)
    answer = await picks(api, ada, type="nearby")
    assert [(item["id"], item["reason"]) for item in answer["items"]] == [(event["id"], "trending")]
    assert answer["fallback"] is True


async def test_social_is_where_friends_go_and_nothing_else(api: Api) -> None:
    host, ada, bob, stranger = [await api.someone() for _ in range(4)]
    liked, other = await api.event(host), await api.event(host)
    await go(api, bob, liked)
    await go(api, stranger, other)
    lonely = await picks(api, ada, type="social")
    assert (lonely["items"], lonely["fallback"]) == ([], False)
    for one, two in ((ada, bob), (bob, ada)):
        _ = await api.call("POST", f"/v1/users/me/friends/{two.id}", who=one)
    api.clock.advance(60)
    answer = await picks(api, ada, type="social")
    assert [(item["id"], item["reason"]) for item in answer["items"]] == [(liked["id"], "social")]
    assert answer["fallback"] is False


async def test_each_type_counts_what_it_recommended(api: Api) -> None:
    host, ada = await api.someone(), await api.someone()
    for _ in range(3):
        _ = await api.event(host)
    _ = await picks(api, ada, limit=2)
    _ = await picks(api, ada, type="trending", limit=3)
    _ = await picks(api, ada, type="social")
    assert dict(api.metrics.recommended) == {"ai_personalized": 2, "trending": 3, "social": 0}


async def test_lists_are_shared_for_a_while_and_then_made_anew(api: Api) -> None:
    host, ada = await api.someone(), await api.someone()
    first = await api.event(host)
    await see(api, first)
    assert ids(await picks(api, ada, type="trending", limit=1)) == [first["id"]]
    loads = api.context.storage.statistics()["loads"]
    hot = await api.event(host)
    await see(api, hot, 3)
    assert ids(await picks(api, ada, type="trending", limit=1)) == [first["id"]]
    assert api.context.storage.statistics()["loads"] == loads
    api.clock.advance(60)
    assert ids(await picks(api, ada, type="trending", limit=1)) == [hot["id"]]


async def test_an_event_that_ended_since_the_list_was_made_is_left_out(api: Api) -> None:
    host, ada = await api.someone(), await api.someone()
    soon = api.clock.now_ms() + 2_000
    times = {"start": to_iso(to_date(soon - 1_000)), "end": to_iso(to_date(soon))}
    event = await api.event(host, datetime=times)
    await see(api, event)
    assert ids(await picks(api, ada, type="trending")) == [event["id"]]
    api.clock.advance(3)
    assert ids(await picks(api, ada, type="trending")) == []


@pytest.mark.parametrize(
    ("query", "fields"),
    [
        ("type=psychic", ["type"]),
        ("limit=0", ["limit"]),
        ("limit=101", ["limit"]),
        ("lng=5", ["lng", "lat"]),
        ("lng=181&lat=0", ["lng"]),
        ("lng=nan&lat=0", ["lng"]),
        ("userId=" + "f" * 24, ["userId"]),
    ],
)
async def test_bad_queries_are_refused(api: Api, query: str, fields: list[str]) -> None:
    ada = await api.someone()
    refused = await api.call("GET", f"/v1/recommendations?{query}", who=ada)
    assert (refused.code, refused.body["fields"]) == ("invalid_request", fields)
