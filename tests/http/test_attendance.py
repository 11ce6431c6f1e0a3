"""Answering an event and reading who goes."""

import pytest

from actors.messages import AnswerRsvp, RsvpAnswer
from cluster.kernel.errors import EVENT_NOT_FOUND, EVENT_OVER, FORBIDDEN, REQUIREMENTS_NOT_MET, ErrorKind, FlowError
from storage.records import Rsvp
from tests.http.harness import Api

pytestmark = pytest.mark.storage

EVENT = "e" * 24


async def test_an_answer_goes_to_the_events_room_and_comes_back(api: Api) -> None:
    ada = await api.someone()
    api.router.answers["event.rsvp"] = RsvpAnswer(
        event_id=EVENT, status="waiting", attending=2, interested=1, capacity=2, place=3
    )
    answer = await api.call("POST", f"/v1/events/{EVENT}/rsvp", {"status": "going"}, who=ada)
    assert answer.status == 200
    assert answer.body == {
        "eventId": EVENT,
        "status": "waiting",
        "attending": 2,
        "interested": 1,
        "capacity": 2,
        "place": 3,
    }
    [sent] = api.router.sent
    assert (sent.user_id, sent.key, sent.name, sent.body) == (
        ada.id,
        f"event/{EVENT}",
        "event.rsvp",
        AnswerRsvp(status="going"),
    )


@pytest.mark.parametrize("kind", [EVENT_NOT_FOUND, EVENT_OVER, FORBIDDEN, REQUIREMENTS_NOT_MET])
async def test_what_the_room_refuses_is_refused(api: Api, kind: ErrorKind) -> None:
    ada = await api.someone()
    api.router.answers["event.rsvp"] = FlowError(kind)
    answer = await api.call("POST", f"/v1/events/{EVENT}/rsvp", {"status": "going"}, who=ada)
    assert (answer.status, answer.code) == (kind.http_status, kind.code)


@pytest.mark.parametrize("body", [{}, {"status": "perhaps"}, {"status": "waiting"}, {"status": "going", "seat": 1}])
async def test_a_bad_answer_never_reaches_the_room(api: Api, body: dict[str, object]) -> None:
    ada = await api.someone()
    assert (await api.call("POST", f"/v1/events/{EVENT}/rsvp", body, who=ada)).code == "invalid_request"
    assert api.router.sent == []


async def test_attendees_are_those_who_go_page_by_page_with_nothing_but_name_and_avatar(api: Api) -> None:
    host = await api.someone()
    event = await api.event(host)
    people = [await api.someone(name=f"Guest {n}", email=f"guest{n}@example.org") for n in range(5)]
    rows = [
        Rsvp(event_id=event["id"], user_id=who.id, status="going", epoch=0, at_ms=1, seat=n + 1)
        for n, who in enumerate(people)
    ]
    rows.append(Rsvp(event_id=event["id"], user_id=host.id, status="interested", epoch=0, at_ms=1))
    assert (await api.context.storage.rsvps.append(rows, [False] * len(rows))).refusal is None
    for limit in (1, 2, 5, 100):
        listed = await api.walk(f"/v1/events/{event['id']}/attendees", who=host, limit=limit)
        assert [item["id"] for item in listed] == sorted(who.id for who in people)
    assert {frozenset(item) for item in listed} == {frozenset({"id", "name", "avatar"})}
    bad = await api.call("GET", f"/v1/events/{event['id']}/attendees?cursor=x", who=host)
    assert bad.body["fields"] == ["cursor"]
