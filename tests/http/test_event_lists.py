"""Lists of events: what they hold, and that pages give every row once whatever their size."""

import math
import random
from typing import Any

import pytest

from storage.dates import to_date, to_iso
from tests.http.harness import Api, Someone, an_event

pytestmark = pytest.mark.storage

BERLIN = (13.405, 52.52)
EARTH_RADIUS_METRES = 6_378_100


def metres_between(a: tuple[float, float], b: tuple[float, float]) -> float:
    (lng_a, lat_a), (lng_b, lat_b) = ((math.radians(lng), math.radians(lat)) for lng, lat in (a, b))
    half = math.sin((lat_b - lat_a) / 2) ** 2 + math.cos(lat_a) * math.cos(lat_b) * math.sin((lng_b - lng_a) / 2) ** 2
    return 2 * EARTH_RADIUS_METRES * math.asin(math.sqrt(half))


async def fill(api: Api, who: Someone, seed: int, count: int) -> list[dict[str, Any]]:
    """Events around Berlin, with many that start at the same time, lie at the same place and match the same words."""
    chance = random.Random(seed)
    events = []
    for _ in range(count):
        start = api.clock.now_ms() + chance.randrange(5) * 3_600_000
        event = an_event(api.clock) | {
            "title": chance.choice(["Jazz", "Jazz jazz night", "Blues", "Jazz and blues"]),
            "description": "",
            "category": chance.choice(["music", "talk"]),
            "tags": chance.sample(["roof", "cellar", "garden"], chance.randrange(3)),
            "datetime": {"start": to_iso(to_date(start)), "end": to_iso(to_date(start + 7_200_000))},
            "location": {
                "type": "Point",
                "coordinates": [BERLIN[0] + chance.randrange(4) * 0.05, BERLIN[1] + chance.randrange(3) * 0.05],
            },
        }
        if chance.random() < 0.2:
            event["visibility"] = "private"
        answer = await api.call("POST", "/v1/events", event, who=who)
        events.append(answer.body)
    return events


QUERIES: list[tuple[dict[str, Any], Any]] = [
    ({}, lambda event: True),
    ({"category": "music"}, lambda event: event["category"] == "music"),
    ({"tag": "ROOF"}, lambda event: "roof" in event["tags"]),
    ({"q": "blues"}, lambda event: "lues" in event["title"]),
    ({"near": "13.405,52.52", "radiusKm": 8}, lambda event: metres_between(place(event), BERLIN) <= 8_000),
    (
        {"near": "13.405,52.52", "radiusKm": 8, "q": "jazz", "category": "talk"},
        lambda event: (
            metres_between(place(event), BERLIN) <= 8_000 and "azz" in event["title"] and event["category"] == "talk"
        ),
    ),
]


def place(event: dict[str, Any]) -> tuple[float, float]:
    longitude, latitude = event["location"]["coordinates"]
    return longitude, latitude


@pytest.mark.parametrize("seed", [1, 2])
async def test_pages_give_every_row_that_fits_exactly_once_whatever_their_size(api: Api, seed: int) -> None:
    ada, reader = await api.someone(), await api.someone()
    events = [event for event in await fill(api, ada, seed, 40) if event["visibility"] == "public"]
    for query, fits in QUERIES:
        wanted = {event["id"] for event in events if fits(event)}
        assert wanted, query
        whole = await api.walk("/v1/events", who=reader, limit=100, **query)
        assert {item["id"] for item in whole} == wanted, query
        for limit in (1, 3, 7, len(wanted)):
            walked = await api.walk("/v1/events", who=reader, limit=limit, **query)
            assert [item["id"] for item in walked] == [item["id"] for item in whole], (query, limit)


async def test_each_list_has_its_order(api: Api) -> None:
    ada = await api.someone()
    _ = await fill(api, ada, 3, 25)
    coming = await api.walk("/v1/events", who=ada)
    assert [event["datetime"]["start"] for event in coming] == sorted(event["datetime"]["start"] for event in coming)
    near = await api.walk("/v1/events", who=ada, near="13.405,52.52")
    distances = [event["distanceMetres"] for event in near]
    assert distances == sorted(distances)
    for event in near:
        assert event["distanceMetres"] == pytest.approx(metres_between(place(event), BERLIN), rel=1e-3, abs=1)
    assert all("distanceMetres" not in event for event in coming)


async def test_what_is_made_meanwhile_never_makes_a_page_repeat_a_row(api: Api) -> None:
    ada = await api.someone()
    before = {event["id"] for event in await fill(api, ada, 4, 12) if event["visibility"] == "public"}
    first = await api.call("GET", "/v1/events", who=ada, params={"limit": 4})
    _ = await fill(api, ada, 5, 8)
    seen = [item["id"] for item in first.body["items"]]
    cursor = first.body["next"]
    while cursor is not None:
        page = await api.call("GET", "/v1/events", who=ada, params={"limit": 4, "cursor": cursor})
        seen += [item["id"] for item in page.body["items"]]
        cursor = page.body["next"]
    assert len(seen) == len(set(seen))
    assert before <= set(seen)


async def test_events_that_are_over_are_left_out_unless_asked_for(api: Api) -> None:
    ada = await api.someone()
    past = await api.event(ada, datetime={"start": "2020-01-01T10:00:00Z", "end": "2020-01-01T11:00:00Z"})
    coming = await api.event(ada)
    assert {item["id"] for item in await api.walk("/v1/events", who=ada)} == {coming["id"]}
    since = await api.walk("/v1/events", who=ada, **{"from": "2019-12-31T00:00:00Z"})
    assert {item["id"] for item in since} == {past["id"], coming["id"]}
    then = await api.walk("/v1/events", who=ada, **{"from": "2019-12-31T00:00:00Z", "to": "2020-02-01T00:00:00+01:00"})
    assert {item["id"] for item in then} == {past["id"]}
    api.clock.advance(8 * 86_400)
    fresh = await api.call("POST", "/v1/auth/login", {"username": ada.username, "password": "correct horse"})
    assert (await api.call("GET", "/v1/events", token=fresh.body["accessToken"])).body["items"] == []


async def test_an_empty_list_is_a_list(api: Api) -> None:
    ada = await api.someone()
    nothing = await api.call("GET", "/v1/events", who=ada, params={"q": "zebra"})
    assert (nothing.status, nothing.body) == (200, {"items": [], "next": None})


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("limit=0", "limit"),
        ("limit=101", "limit"),
        ("limit=many", "limit"),
        ("near=13.4", "near"),
        ("near=181,0", "near"),
        ("near=0,91", "near"),
        ("near=a,b", "near"),
        ("near=1e2,3", "near"),
        ("near=1,2&near=3,4", "near"),
        ("near=1,2&radiusKm=0", "radiusKm"),
        ("near=1,2&radiusKm=501", "radiusKm"),
        ("near=1,2&radiusKm=nan", "radiusKm"),
        ("q=", "q"),
        ("q=%20", "q"),
        ("q=" + "x" * 257, "q"),
        ("from=tomorrow", "from"),
        ("from=2030-01-01T00:00:00", "from"),
        ("from=2030-01-02T00:00:00Z&to=2030-01-01T00:00:00Z", "to"),
        ("cursor=nonsense", "cursor"),
        ("cursor=%00", "cursor"),
        ("tag[$ne]=x", "tag[$ne]"),
        ("page=2", "page"),
    ],
)
async def test_a_bad_query_is_refused_by_name(api: Api, query: str, field: str) -> None:
    ada = await api.someone()
    refused = await api.call("GET", f"/v1/events?{query}", who=ada)
    assert (refused.status, refused.code, refused.body["fields"]) == (400, "invalid_request", [field])


async def test_a_cursor_of_another_list_is_refused(api: Api) -> None:
    ada = await api.someone()
    for _ in range(2):
        _ = await api.event(ada)
    page = await api.call("GET", "/v1/events", who=ada, params={"limit": 1})
    other = {"near": "13.405,52.52", "limit": 1, "cursor": page.body["next"]}
    assert (await api.call("GET", "/v1/events", who=ada, params=other)).body["fields"] == ["cursor"]
