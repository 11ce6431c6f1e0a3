"""Recommendations: by the pipeline when it can, by storage's lists, marked, when it cannot."""

import asyncio
from typing import Any

import pytest

from cluster.kernel.errors import OVERLOADED, UNAVAILABLE, ErrorKind, FlowError
from realtime.http.settings import ApiSettings
from serve_apps.contracts import CirclePlans, Exposure
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


@pytest.mark.parametrize("kind", ["ai_personalized", "trending", "nearby", "social"])
async def test_every_kind_is_asked_of_the_recommender(api: Api, kind: str) -> None:
    host, ada = await api.someone(), await api.someone(location=PARIS)
    hot, good = await api.event(host), await api.event(host)
    await see(api, hot)
    api.recommender.events = [(good["id"], 0.9)]
    answer = await picks(api, ada, type=kind, radiusKm=20)
    assert [(item["id"], item["reason"], item["score"]) for item in answer["items"]] == [(good["id"], kind, 0.9)]
    assert (answer["type"], answer["fallback"]) == (kind, False)
    [asked] = api.recommender.requests
    assert (asked.kind, asked.coordinates, asked.radius_km, asked.deadline_ms) == (kind, (2.35, 48.85), 20.0, 300)
    assert asked.attributes["kind"] == kind


async def test_what_only_fills_up_is_marked(api: Api) -> None:
    host, ada = await api.someone(), await api.someone()
    events = [await api.event(host, title=f"Event {n}") for n in range(3)]
    first, second, third = [event["id"] for event in events]
    api.recommender.events = [(first, 0.9), (second, -1.0), (third, -2.0)]
    api.recommender.fillers = {second: "trending", third: "upcoming"}
    answer = await picks(api, ada, type="nearby", lng=1.0, lat=2.0)
    assert [(item["id"], item["reason"], item.get("score")) for item in answer["items"]] == [
        (first, "nearby", 0.9),
        (second, "trending", None),
        (third, "upcoming", None),
    ]
    assert answer["fallback"] is True
    assert (await picks(api, ada, type="nearby", lng=1.0, lat=2.0, limit=1))["fallback"] is False


async def test_nobody_sees_what_a_block_keeps_away_whatever_answers(api: Api) -> None:
    host, ada = await api.someone(), await api.someone()
    event = await api.event(host)
    await see(api, event)
    _ = await api.call("POST", f"/v1/users/me/blocks/{host.id}", who=ada)
    api.recommender.events = [(event["id"], 0.9)]
    for kind in ("ai_personalized", "trending"):
        assert ids(await picks(api, ada, type=kind)) == []
    api.recommender.error = FlowError(UNAVAILABLE)
    assert ids(await picks(api, ada, type="trending")) == []


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
    api.recommender.error = FlowError(UNAVAILABLE)
    assert ids(await picks(api, ada, type="trending")) == [event["id"]]
    _ = await api.call("POST", "/v1/interactions", {"eventId": event["id"], "action": action}, who=ada)
    for kind in ("ai_personalized", "trending", "nearby"):
        assert ids(await picks(api, ada, type=kind)) == []


async def test_trending_without_the_recommender_is_by_what_people_do(api: Api) -> None:
    host, ada = await api.someone(), await api.someone()
    api.recommender.error = FlowError(UNAVAILABLE)
    cold, warm, hot = [await api.event(host, title=title) for title in ("cold", "warm", "hot")]
    await see(api, warm, 1)
    await see(api, hot, 3)
    answer = await picks(api, ada, type="trending", limit=2)
    assert ids(answer) == [hot["id"], warm["id"]]
    assert {item["reason"] for item in answer["items"]} == {"trending"}
    assert (answer["fallback"], answer["modelVersion"]) == (True, None)
    everything = await picks(api, ada, type="trending")
    assert ids(everything)[2:] == [cold["id"]]
    assert everything["items"][2]["reason"] == "upcoming"
    assert everything["fallback"] is True


async def test_nearby_without_the_recommender_is_by_where_the_person_is_or_says_to_be(api: Api) -> None:
    host, ada = await api.someone(), await api.someone(location=PARIS)
    api.recommender.error = FlowError(UNAVAILABLE)
    berlin, paris = await api.event(host), await api.event(host, location=PARIS)
    assert ids(await picks(api, ada, type="nearby", limit=1)) == [paris["id"]]
    there = await picks(api, ada, type="nearby", lng=13.4, lat=52.5, limit=1)
    assert ids(there) == [berlin["id"]]
    assert there["fallback"] is True
    assert there["items"][0]["reason"] == "nearby"
    close = await picks(api, ada, type="nearby", lng=13.4, lat=52.6, radiusKm=2)
    assert "nearby" not in {item["reason"] for item in close["items"]}


async def test_nearby_without_a_place_is_a_fallback(api: Api) -> None:
    host, ada = await api.someone(), await api.someone()
    event = await api.event(host)
    await see(api, event)
    assert (await picks(api, ada, type="nearby"))["fallback"] is True
    api.recommender.error = FlowError(UNAVAILABLE)
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
    api.recommender.error = FlowError(UNAVAILABLE)
    assert (await picks(api, ada, type="social"))["items"] == []
    for one, two in ((ada, bob), (bob, ada)):
        _ = await api.call("POST", f"/v1/users/me/friends/{two.id}", who=one)
    api.clock.advance(60)
    answer = await picks(api, ada, type="social")
    assert [(item["id"], item["reason"]) for item in answer["items"]] == [(liked["id"], "social")]
    assert answer["fallback"] is True


async def test_each_type_counts_what_it_recommended(api: Api) -> None:
    host, ada = await api.someone(), await api.someone()
    for _ in range(3):
        _ = await api.event(host)
    api.recommender.error = FlowError(UNAVAILABLE)
    _ = await picks(api, ada, limit=2)
    _ = await picks(api, ada, type="trending", limit=3)
    _ = await picks(api, ada, type="social")
    assert dict(api.metrics.recommended) == {"ai_personalized": 2, "trending": 3, "social": 0}


async def test_lists_are_shared_for_a_while_and_then_made_anew(api: Api) -> None:
    host, ada = await api.someone(), await api.someone()
    first = await api.event(host)
    await see(api, first)
    api.recommender.error = FlowError(UNAVAILABLE)
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
    api.recommender.error = FlowError(UNAVAILABLE)
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


async def test_reasons_and_the_person_s_past_travel_with_the_request(api: Api) -> None:
    host, ada, bob = [await api.someone() for _ in range(3)]
    liked, planned, good = [await api.event(host, title=title) for title in ("liked", "planned", "good")]
    await go(api, ada, liked)
    await go(api, bob, planned)
    for one, two in ((ada, bob), (bob, ada)):
        _ = await api.call("POST", f"/v1/users/me/friends/{two.id}", who=one)
    _ = await api.call("POST", f"/v1/users/me/blocks/{host.id}", who=ada)
    api.recommender.events = [(good["id"], 0.9)]
    await picks(api, ada)
    [asked] = api.recommender.requests
    assert [(one.event_id, one.weight) for one in asked.history] == [(liked["id"], 1.0)]
    assert asked.circle_plans == (CirclePlans(planned["id"], friends_going=1, circle=1),)
    assert asked.blocked_organizer_ids == (host.id,)
    assert asked.exclude_event_ids == (liked["id"],)


async def test_an_answer_is_kept_until_the_person_acts(api: Api) -> None:
    host, ada = await api.someone(), await api.someone()
    events = [await api.event(host, title=f"Event {n}") for n in range(3)]
    api.recommender.events = [(event["id"], 0.5) for event in events]
    api.clock.advance(60)
    first = await picks(api, ada, limit=3)
    assert await picks(api, ada, limit=3) == first
    assert ids(await picks(api, ada, limit=1)) == ids(first)[:1]
    assert len(api.recommender.requests) == 1
    _ = await api.call("POST", "/v1/interactions", {"eventId": events[0]["id"], "action": "click"}, who=ada)
    await picks(api, ada, limit=3)
    assert len(api.recommender.requests) == 2
    assert [one.event_id for one in api.recommender.requests[1].history] == [events[0]["id"]]
    _ = await api.call("PATCH", "/v1/users/me", {"profile": {"interests": ["jazz"]}}, who=ada)
    await picks(api, ada, limit=3)
    assert api.recommender.requests[2].interests == ("jazz",)


async def test_something_new_that_may_matter_makes_a_kept_answer_old(api: Api) -> None:
    host = await api.someone()
    ada, bob = await api.someone(interests=["jazz"]), await api.someone(interests=["chess"])
    shown = await api.event(host)
    api.recommender.events = [(shown["id"], 0.5)]
    api.clock.advance(60)
    for who in (ada, bob):
        await picks(api, who, limit=1)
    api.clock.advance(60)
    fresh = await api.event(host, tags=["Jazz"], location=PARIS)
    for who in (ada, bob):
        await picks(api, who, limit=1)
    assert [asked.user_id for asked in api.recommender.requests] == [ada.id, bob.id, ada.id]
    api.recommender.events = [(fresh["id"], 0.5)]
    api.clock.advance(400)
    assert ids(await picks(api, bob, limit=1)) == [fresh["id"]], "nothing is kept for ever"


async def test_a_kept_answer_never_shows_what_was_hidden_since(api: Api) -> None:
    host, ada = await api.someone(), await api.someone()
    event = await api.event(host)
    api.recommender.events = [(event["id"], 0.5)]
    api.clock.advance(60)
    assert ids(await picks(api, ada, limit=1)) == [event["id"]]
    await api.context.storage.events.update(event["id"], {"visibility": "private"})
    assert ids(await picks(api, ada, limit=1)) == []


async def test_a_place_a_radius_or_an_experiment_of_one_s_own_is_answered_anew(start: StartApi) -> None:
    api = await start(development=True)
    host, ada = await api.someone(), await api.someone()
    event = await api.event(host)
    api.recommender.events = [(event["id"], 0.5)]
    for params in ({"lng": 1.0, "lat": 2.0}, {"radiusKm": 5}, {"experiment": "ranker:deep"}, {"limit": 100}):
        for _ in range(2):
            await picks(api, ada, **params)
    asked = api.recommender.requests
    assert len(asked) == 8
    assert (asked[0].coordinates, asked[2].radius_km) == ((1.0, 2.0), 5.0)
    assert (asked[4].overrides, asked[4].development) == ({"ranker": "deep"}, True)


async def test_an_exposure_is_logged_when_the_treatment_is_shown_and_once(api: Api) -> None:
    host, ada = await api.someone(), await api.someone()
    event = await api.event(host)
    api.recommender.exposures = (
        Exposure(experiment="ranker", version=1, variation="deep", unit=ada.id, at_ms=api.clock.now_ms()),
    )
    assert (await picks(api, ada, limit=1))["experiments"] == {}, "an answer that shows nothing is no exposure"
    api.recommender.events = [(event["id"], 0.5)]
    _ = await api.call("POST", "/v1/interactions", {"eventId": event["id"], "action": "view"}, who=ada)
    for _ in range(3):
        assert (await picks(api, ada, limit=1))["experiments"] == {"ranker": "deep"}
    _ = await api.call("POST", "/v1/interactions", {"eventId": event["id"], "action": "click"}, who=ada)
    pages = [page async for page in api.context.storage.experiments.units("ranker", 1)]
    assert pages == [[(ada.id, "deep", {"view": 1.0, "click": 1.0})]]


async def test_experiments_are_told_what_is_known_of_the_person(api: Api) -> None:
    ada = await api.someone(location=PARIS)
    body = {"kind": "token", "value": "a-token-of-some-length", "platform": "ios"}
    assert (await api.call("POST", "/v1/users/me/devices", body, who=ada)).status < 300
    await picks(api, ada)
    await picks(api, ada, lng=2.35, lat=48.85)
    known = {"kind": "ai_personalized", "history": "none", "friends_plans": "no", "newcomer": "yes", "platform": "ios"}
    assert [asked.attributes for asked in api.recommender.requests] == [
        {**known, "place": "profile"},
        {**known, "place": "request"},
    ]
