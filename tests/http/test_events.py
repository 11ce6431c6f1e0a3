"""Events: made, read by whom they are for, changed by their organizer."""

from typing import Any

import pytest

from actors.messages import Done, EventChanged, PublishToTopic
from cluster.kernel.errors import UNAVAILABLE, FlowError
from cluster.run.imports.conference import document, parse
from storage.records import Rsvp
from tests.http.doubles import Sent
from tests.http.harness import Api, an_event

pytestmark = pytest.mark.storage

NOBODY = "f" * 24


async def test_an_event_comes_back_as_it_was_sent_with_its_organizer(api: Api) -> None:
    ada = await api.someone(name="Ada")
    sent = {**an_event(api.clock), "tags": ["Jazz", " jazz", "Roof"], "title": " Jazz on the roof "}
    made = await api.call("POST", "/v1/events", sent, who=ada)
    assert made.status == 201
    event = made.body
    assert made.headers["Location"] == f"/v1/events/{event['id']}"
    assert event["organizer"] == {"id": ada.id, "name": "Ada", "type": "individual"}
    assert event["tags"] == ["jazz", "roof"]
    assert event["title"] == "Jazz on the roof"
    for name in ("description", "category", "datetime", "location", "capacity", "visibility", "requirements"):
        assert event[name] == sent[name]
    assert event["createdAt"] == event["updatedAt"]
    assert "_id" not in event
    assert "room" not in event
    assert (await api.call("GET", f"/v1/events/{event['id']}", who=ada)).body == event


async def test_a_title_and_its_times_are_enough(api: Api) -> None:
    ada = await api.someone()
    whole = an_event(api.clock)
    event = (await api.call("POST", "/v1/events", {k: whole[k] for k in ("title", "datetime")}, who=ada)).body
    assert event["capacity"] == {"max": None}
    assert event["visibility"] == "public"
    assert event["location"] is None
    assert event["category"] == "other"


async def test_times_are_kept_in_utc_whatever_offset_they_came_with(api: Api) -> None:
    ada = await api.someone()
    times = {"start": "2030-06-01T18:00:00+02:00", "end": "2030-06-01T20:30:00+02:00", "timezone": "Europe/Berlin"}
    event = await api.event(ada, datetime=times)
    assert event["datetime"] == {
        "start": "2030-06-01T16:00:00.000Z",
        "end": "2030-06-01T18:30:00.000Z",
        "timezone": "Europe/Berlin",
    }


@pytest.mark.parametrize("zone", ["Europe/Atlantis", "../../etc/passwd", ""])
async def test_a_time_zone_must_exist(api: Api, zone: str) -> None:
    ada = await api.someone()
    whole = an_event(api.clock)
    whole["datetime"]["timezone"] = zone
    refused = await api.call("POST", "/v1/events", whole, who=ada)
    assert refused.code == "invalid_request"
    assert refused.body["fields"][0].startswith("datetime")


async def test_a_new_public_event_is_told_to_its_topics(api: Api) -> None:
    ada = await api.someone()
    api.router.answers["topic.publish"] = Done()
    event = await api.event(ada, tags=["jazz", "rooftop"], category="music")
    told = await api.router.wait_for("topic.publish", 4)
    topics = [sent.key.removeprefix("topic/") for sent in told]
    assert topics[0].startswith("location:")
    assert topics[1:] == ["interest:music", "interest:jazz", "interest:rooftop"]
    for place, sent in enumerate(told):
        assert isinstance(sent.body, PublishToTopic)
        assert sent.body.name == "event:new"
        assert sent.body.body["id"] == event["id"]
        assert list(sent.body.skip_topics) == topics[:place]


async def test_private_and_past_events_are_told_to_nobody(api: Api) -> None:
    ada = await api.someone()
    api.router.answers["topic.publish"] = Done()
    _ = await api.event(ada, visibility="private")
    _ = await api.event(ada, datetime={"start": "2020-01-01T00:00:00Z", "end": "2020-01-01T01:00:00Z"})
    public = await api.event(ada, tags=[], location=None)
    ids = {sent.body.body["id"] for sent in await api.router.wait_for("topic.publish")}
    assert ids == {public["id"]}


async def test_an_event_is_made_though_nobody_can_be_told(api: Api) -> None:
    ada = await api.someone()
    api.router.answers["topic.publish"] = FlowError(UNAVAILABLE)
    event = await api.event(ada)
    assert (await api.call("GET", f"/v1/events/{event['id']}", who=ada)).status == 200


@pytest.mark.parametrize("visibility", ["private", "group-only"])
async def test_only_those_it_is_for_may_read_an_event_that_is_not_public(api: Api, visibility: str) -> None:
    ada, guest, goer, stranger = [await api.someone() for _ in range(4)]
    event = await api.event(ada, visibility=visibility)
    storage = api.context.storage
    await storage.invitations.invite(event["id"], [guest.id], ada.id, api.clock.now_ms())
    answer = Rsvp(event_id=event["id"], user_id=goer.id, status="going", epoch=0, at_ms=1, seat=1)
    assert (await storage.rsvps.append([answer], [False])).refusal is None
    path = f"/v1/events/{event['id']}"
    assert [(await api.call("GET", path, who=who)).status for who in (ada, guest, goer)] == [200] * 3
    refused = await api.call("GET", path, who=stranger)
    assert (refused.status, refused.code) == (403, "forbidden")
    assert (await api.call("GET", path + "/attendees", who=stranger)).status == 403
    listed = {item["id"] for who in (stranger, guest) for item in await api.walk("/v1/events", who=who)}
    assert event["id"] not in listed
    _ = await api.event(guest)
    assert [item["id"] for item in await api.walk("/v1/events", who=ada, mine="true")] == [event["id"]]


async def test_the_organizer_changes_an_event_and_its_room_is_told(api: Api) -> None:
    ada = await api.someone()
    event = await api.event(ada)
    api.router.answers["event.changed"] = Done()
    changes = {"title": "Moved", "location": None, "capacity": {"max": 5}, "tags": ["Blues"]}
    api.clock.advance(5)
    changed = await api.call("PATCH", f"/v1/events/{event['id']}", changes, who=ada)
    assert changed.status == 200
    expected = {**event, **changes, "tags": ["blues"], "updatedAt": changed.body["updatedAt"]}
    assert changed.body == expected
    assert changed.body["updatedAt"] > event["updatedAt"]
    [told] = api.router.of("event.changed")
    assert (told.key, told.user_id) == (f"event/{event['id']}", ada.id)
    assert told.body == EventChanged(fields=("title", "tags", "location", "capacity"))
    unlimited = await api.call("PATCH", f"/v1/events/{event['id']}", {"capacity": None}, who=ada)
    assert unlimited.body["capacity"] == {"max": None}


async def test_the_change_is_stored_before_the_room_is_told(api: Api) -> None:
    ada = await api.someone()
    event = await api.event(ada)
    seen: list[Any] = []

    def unreachable(sent: Sent) -> FlowError:
        seen.append(sent.name)
        return FlowError(UNAVAILABLE)

    api.router.answers["event.changed"] = unreachable
    answer = await api.call("PATCH", f"/v1/events/{event['id']}", {"title": "Moved"}, who=ada)
    assert (answer.status, answer.code) == (503, "unavailable"), "a room that was not told is not kept quiet about"
    assert seen == ["event.changed"]
    assert (await api.call("GET", f"/v1/events/{event['id']}", who=ada)).body["title"] == "Moved"


async def test_nobody_else_changes_an_event(api: Api) -> None:
    ada, grace = await api.someone(), await api.someone()
    event = await api.event(ada)
    refused = await api.call("PATCH", f"/v1/events/{event['id']}", {"title": "Mine"}, who=grace)
    assert (refused.status, refused.code) == (403, "forbidden")
    assert api.router.of("event.changed") == []
    assert (await api.call("GET", f"/v1/events/{event['id']}", who=ada)).body["title"] == event["title"]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({}, "$"),
        ({"title": None}, "title"),
        ({"organizer": {"id": NOBODY}}, "organizer"),
        ({"id": NOBODY}, "id"),
        ({"room": {"epoch": 99}}, "room"),
        ({"capacity": {"max": -1}}, "capacity.max"),
        ({"createdAt": "2020-01-01T00:00:00Z"}, "createdAt"),
    ],
)
async def test_what_the_server_makes_cannot_be_changed(api: Api, change: dict[str, Any], field: str) -> None:
    ada = await api.someone()
    event = await api.event(ada)
    refused = await api.call("PATCH", f"/v1/events/{event['id']}", change, who=ada)
    assert (refused.code, refused.body["fields"]) == ("invalid_request", [field])


@pytest.mark.parametrize("event_id", [NOBODY, "not-an-id", "{$gt:0}", "%00"])
@pytest.mark.parametrize(("method", "rest"), [("GET", ""), ("PATCH", ""), ("GET", "/attendees")])
async def test_events_that_do_not_exist(api: Api, method: str, rest: str, event_id: str) -> None:
    ada = await api.someone()
    answer = await api.call(
        method, f"/v1/events/{event_id}{rest}", {"title": "x"} if method == "PATCH" else None, who=ada
    )
    assert answer.status == 404
    assert answer.code in ("event_not_found", "not_found")


async def test_imported_events_have_no_organizer_here_and_nobody_changes_them(api: Api) -> None:
    ada = await api.someone()
    line = b"""{"name": "PyConf", "url": "https://example.org", "startDate": "2031-05-01", "endDate": "2031-05-02",
        "online": true, "topics": ["Python"]}"""
    [outcome] = await api.context.storage.events.upsert_imported([document(parse(line), lambda *_: None)])
    [event] = await api.walk("/v1/events", who=ada)
    assert outcome
    assert event["title"] == "PyConf"
    assert event["online"] is True
    assert event["source"]["platform"] == "conference-data"
    assert event["organizer"]["id"] is None
    refused = await api.call("PATCH", f"/v1/events/{event['id']}", {"title": "Mine"}, who=ada)
    assert refused.code == "forbidden"
