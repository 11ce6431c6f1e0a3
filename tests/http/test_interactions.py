"""What people did with events."""

import typing
from typing import Any

import pytest

from realtime.http.interactions import Action
from serve_apps.contracts import ACTION_WEIGHTS, POSITIVE_WEIGHT
from storage.dates import to_date, to_iso
from tests.http.harness import Api

pytestmark = pytest.mark.storage

NOBODY = "f" * 24


async def stored(api: Api) -> list[dict[str, Any]]:
    rows = api.context.storage._database.collection("interactions")
    return await rows.find({}, limit=500, sort=[("at_ms", 1), ("action", 1)])


async def test_one_interaction_is_recorded_once(api: Api) -> None:
    ada = await api.someone()
    event = await api.event(ada)
    body = {"eventId": event["id"], "action": "view"}
    assert (await api.call("POST", "/v1/interactions", body, who=ada)).body == {
        "recorded": 1,
        "repeated": 0,
        "ignored": 0,
    }
    assert (await api.call("POST", "/v1/interactions", body, who=ada)).body["repeated"] == 1
    [row] = await stored(api)
    assert (row["user_id"], row["event_id"], row["action"], row["at_ms"]) == (
        ada.id,
        event["id"],
        "view",
        api.clock.now_ms(),
    )


async def test_a_batch_is_recorded_and_what_names_no_event_is_ignored(api: Api) -> None:
    ada, bob = await api.someone(), await api.someone()
    event, hidden = await api.event(ada), await api.event(ada, visibility="private")
    earlier = to_iso(to_date(api.clock.now_ms() - 3_600_000))
    items = [
        {"eventId": event["id"], "action": "view", "at": earlier},
        {"eventId": event["id"], "action": "attend"},
        {"eventId": event["id"], "action": "dismiss"},
        {"eventId": NOBODY, "action": "view"},
        {"eventId": hidden["id"], "action": "view"},
    ]
    told = await api.call("POST", "/v1/interactions", {"items": items}, who=bob)
    assert told.body == {"recorded": 3, "repeated": 0, "ignored": 2}
    rows = await stored(api)
    assert [row["action"] for row in rows] == ["view", "attend", "dismiss"]
    assert rows[0]["at_ms"] == api.clock.now_ms() - 3_600_000
    assert rows[1]["weight"] >= POSITIVE_WEIGHT > rows[2]["weight"]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "eventId"),
        ({"eventId": NOBODY}, "eventId"),
        ({"action": "view"}, "eventId"),
        ({"eventId": NOBODY, "action": "view", "items": [{"eventId": NOBODY, "action": "view"}]}, "eventId"),
        ({"eventId": "x", "action": "view"}, "eventId"),
        ({"eventId": NOBODY, "action": "hack"}, "action"),
        ({"eventId": NOBODY, "action": "view", "weight": 99}, "weight"),
        ({"eventId": NOBODY, "action": "view", "userId": NOBODY}, "userId"),
        ({"items": [{"eventId": NOBODY, "action": "view"}] * 101}, "items"),
        ({"items": [{"eventId": NOBODY, "action": "view", "x": 1}]}, "items[...]"),
    ],
)
async def test_bad_interactions_are_refused(api: Api, body: dict[str, Any], field: str) -> None:
    ada = await api.someone()
    refused = await api.call("POST", "/v1/interactions", body, who=ada)
    assert refused.code == "invalid_request"
    assert refused.body["fields"][0].split("[")[0] == field.split("[")[0]


@pytest.mark.parametrize("days", [-8, 1])
async def test_times_out_of_bounds_are_refused(api: Api, days: int) -> None:
    ada = await api.someone()
    event = await api.event(ada)
    at = to_iso(to_date(api.clock.now_ms() + days * 86_400_000))
    refused = await api.call("POST", "/v1/interactions", {"eventId": event["id"], "action": "view", "at": at}, who=ada)
    assert refused.body["fields"] == ["at"]
    assert await stored(api) == []


async def test_an_event_that_does_not_exist_is_not_found(api: Api) -> None:
    ada = await api.someone()
    refused = await api.call("POST", "/v1/interactions", {"eventId": NOBODY, "action": "view"}, who=ada)
    assert (refused.status, refused.code) == (404, "event_not_found")


def test_every_action_that_clients_may_tell_has_a_weight() -> None:
    assert set(typing.get_args(Action)) <= set(ACTION_WEIGHTS)
