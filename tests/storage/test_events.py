"""Event documents and their lists on real MongoDB."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from cluster.kernel.clock import ManualClock
from cluster.kernel.errors import EVENT_NOT_FOUND, INVALID_REQUEST, FlowError
from cluster.kernel.ids import is_id
from storage.dates import to_date
from storage.event_documents import to_wire
from storage.event_filters import EventFilters
from storage.events import MongoEvents
from tests.conftest import OpenDatabase

pytestmark = pytest.mark.storage

NOW_MS = 1_800_000_000_000
BERLIN, POTSDAM, HAMBURG = (13.4050, 52.5200), (13.0645, 52.3906), (9.9937, 53.5511)


@pytest.fixture
async def events(open_database: OpenDatabase) -> MongoEvents:
    return MongoEvents(await open_database("events"), ManualClock(NOW_MS))


def draft(title: str = "Concert", *, days: float = 1, at: tuple[float, float] | None = None, **changes: object) -> dict:
    start = to_date(NOW_MS) + timedelta(days=days)
    document = {"title": title, "datetime": {"start": start, "end": start + timedelta(hours=2)}, **changes}
    if at is not None:
        document["location"] = {"type": "Point", "coordinates": list(at), "address": "Street 1", "venue": "Hall"}
    return document


async def all_pages(fetch) -> list[str]:
    titles: list[str] = []
    cursor = None
    while True:
        page = await fetch(cursor)
        titles += [item["title"] for item in page.items]
        if page.next is None:
            return titles
        assert page.items
        cursor = page.next


async def test_an_event_is_completed_and_found(events: MongoEvents) -> None:
    stored = await events.create(draft(tags=("jazz", "live"), at=BERLIN))
    assert is_id(stored["_id"])
    assert await events.by_id(stored["_id"]) == stored
    assert (stored["visibility"], stored["capacity"], stored["tags"]) == ("public", {"max": None}, ["jazz", "live"])
    assert await events.by_id("nothing") is None
    assert [one["_id"] for one in await events.by_ids(["nothing", stored["_id"]])] == [stored["_id"]]
    assert await events.existing(["nothing", stored["_id"]]) == {stored["_id"]}
    assert await events.existing([]) == frozenset()


async def test_the_wire_form_has_text_dates_and_nothing_internal(events: MongoEvents) -> None:
    start = datetime(2027, 1, 15, 18, 30, 0, 123456, tzinfo=UTC)
    source = {"platform": "p", "externalId": "1"}
    document = {"title": "T", "datetime": {"start": start, "end": start}, "source": source}
    await events.upsert_imported([document])
    (stored,) = (await events.upcoming(EventFilters(), 10)).items
    wire = to_wire(stored)
    assert wire["id"] == stored["_id"]
    assert wire["datetime"] == {
        "start": "2027-01-15T18:30:00.123Z",
        "end": "2027-01-15T18:30:00.123Z",
        "timezone": "UTC",
    }
    assert not {"_id", "room", "owed"} & wire.keys()
    assert wire["source"].keys() == {"platform", "externalId", "lastSync"}
    assert wire["createdAt"].endswith("Z")


@pytest.mark.parametrize("broken", [{"title": ""}, {"datetime": None}, {"datetime": {"start": "2027-01-01"}}])
async def test_an_event_without_title_or_times_is_refused(events: MongoEvents, broken: dict) -> None:
    with pytest.raises(FlowError) as caught:
        await events.create(draft() | broken)
    assert caught.value.kind is INVALID_REQUEST


async def test_creating_the_same_event_again_changes_nothing(events: MongoEvents) -> None:
    first = await events.create({"_id": "a" * 24, **draft("First")})
    again = await events.create({"_id": "a" * 24, **draft("Second")})
    assert again == first


async def test_a_change_replaces_what_it_names(events: MongoEvents) -> None:
    stored = await events.create(draft(description="Old", at=BERLIN))
    changed = await events.update(stored["_id"], {"title": "New", "capacity": {"max": 5}, "location": None})
    assert (changed["title"], changed["capacity"], changed["description"]) == ("New", {"max": 5}, "Old")
    assert changed["location"] is None
    with pytest.raises(FlowError) as caught:
        await events.update(stored["_id"], {"room": {"epoch": 9}, "title": "x"})
    assert (caught.value.kind, caught.value.fields) == (INVALID_REQUEST, ("room",))
    with pytest.raises(FlowError) as caught:
        await events.update("nothing", {"title": "x"})
    assert caught.value.kind is EVENT_NOT_FOUND
    assert await events.delete(stored["_id"]) is True
    assert await events.delete(stored["_id"]) is False


async def test_upcoming_pages_by_start_through_equal_times(events: MongoEvents) -> None:
    titles = [f"E{n:02}" for n in range(12)]
    for n, title in enumerate(titles):
        await events.create({"_id": f"{n:024x}", **draft(title, days=n // 4)})
    await events.create(draft("over", days=-1))
    await events.create(draft("hidden", visibility="private"))
    filters = EventFilters(not_over_at_ms=NOW_MS)
    assert await all_pages(lambda cursor: events.upcoming(filters, 5, cursor)) == titles


async def test_upcoming_is_narrowed_by_every_filter(events: MongoEvents) -> None:
    await events.create(draft("a", category="music", tags=["jazz"], organizer={"id": "olga"}))
    await events.create(draft("b", category="music", tags=["rock"]))
    await events.create(draft("c", category="sport", tags=["jazz", "run"], days=5))
    await events.create(draft("d", visibility="private", organizer={"id": "olga"}))

    async def found(**filters: object) -> list[str]:
        page = await events.upcoming(EventFilters(**filters), 10)
        return sorted(item["title"] for item in page.items)

    assert await found(category="music") == ["a", "b"]
    assert await found(tag="jazz") == ["a", "c"]
    assert await found(tag="jazz", category="sport") == ["c"]
    assert await found(starts_after_ms=NOW_MS + 2 * 24 * 3_600_000) == ["c"]
    assert await found(starts_before_ms=NOW_MS + 2 * 24 * 3_600_000) == ["a", "b"]
    assert await found(organizer_id="olga", public_only=False) == ["a", "d"]
    assert await found(within=(BERLIN, 1_000)) == []


async def test_near_pages_by_distance_through_equal_places(events: MongoEvents) -> None:
    for n in range(7):
        await events.create({"_id": f"{n:024x}", **draft(f"B{n}", at=BERLIN)})
    await events.create(draft("P", at=POTSDAM))
    await events.create(draft("H", at=HAMBURG))
    await events.create(draft("nowhere"))
    await events.create(draft("over", at=BERLIN, days=-1))
    filters = EventFilters(not_over_at_ms=NOW_MS)
    expected = [f"B{n}" for n in range(7)]
    near = await all_pages(lambda cursor: events.near(BERLIN, 50_000, 3, cursor, filters))
    assert near == [*expected, "P"]
    far = await all_pages(lambda cursor: events.near(BERLIN, 500_000, 4, cursor, filters))
    assert far == [*expected, "P", "H"]
    page = await events.near(HAMBURG, 500_000, 1, None, filters)
    assert page.items[0]["distanceMetres"] < 1
    assert (await events.near((0.0, 0.0), 1_000, 5)).items == []


async def test_near_a_point_off_the_places_pages_whole(events: MongoEvents) -> None:
    """Distances that are not round numbers must come back from a cursor exactly."""
    for n in range(20):
        await events.create(draft(f"{n}", at=(13.0 + n * 0.0137, 52.0 + n * 0.0071)))
        await events.create(draft(f"{n}", at=(13.0 + n * 0.0137, 52.0 + n * 0.0071)))
    titles = await all_pages(lambda cursor: events.near((13.1234567, 52.0987654), 100_000, 3, cursor))
    assert len(titles) == 40
    assert sorted(set(titles), key=int) == [str(n) for n in range(20)]


async def test_search_finds_words_best_first(events: MongoEvents) -> None:
    await events.create(draft("Jazz night", description="jazz jazz"))
    await events.create(draft("Evening", description="some jazz and more", at=BERLIN))
    await events.create(draft("Tagged", tags=["jazz"]))
    await events.create(draft("Football"))
    page = await events.search("jazz", 10)
    assert page.items[0]["title"] == "Jazz night"
    assert {item["title"] for item in page.items} == {"Jazz night", "Evening", "Tagged"}
    assert "score" not in page.items[0]
    near = await events.search("jazz", 10, None, EventFilters(within=(POTSDAM, 50_000)))
    assert [item["title"] for item in near.items] == ["Evening"]
    paged = await all_pages(lambda cursor: events.search("jazz", 1, cursor))
    assert paged == [item["title"] for item in page.items]
    for text in (" ", "x" * 257):
        with pytest.raises(FlowError) as caught:
            await events.search(text, 10)
        assert caught.value.kind is INVALID_REQUEST


@pytest.mark.parametrize("cursor", ["nonsense", "", "AAAA"])
async def test_a_broken_cursor_is_an_invalid_request(events: MongoEvents, cursor: str) -> None:
    for fetch in (events.upcoming(EventFilters(), 5, cursor), events.near(BERLIN, 10, 5, cursor)):
        with pytest.raises(FlowError) as caught:
            await fetch
        assert caught.value.kind is INVALID_REQUEST


def imported(external_id: str, title: str, **changes: object) -> dict:
    return draft(title, source={"platform": "p", "externalId": external_id}, **changes)


async def test_importing_twice_changes_nothing(events: MongoEvents) -> None:
    documents = [imported(str(n), f"E{n}", at=BERLIN, tags=("a", "b")) for n in range(5)]
    assert await events.upsert_imported(documents) == ["imported"] * 5
    before = (await events.upcoming(EventFilters(), 10)).items
    assert await events.upsert_imported(documents) == ["unchanged"] * 5
    assert (await events.upcoming(EventFilters(), 10)).items == before


async def test_an_import_tells_what_became_of_each(events: MongoEvents) -> None:
    await events.upsert_imported([imported("1", "One"), imported("2", "Two")])
    batch = [imported("2", "Two!"), imported("3", "Three"), imported("1", "One"), imported("3", "Three")]
    assert await events.upsert_imported(batch) == ["updated", "imported", "unchanged", "unchanged"]
    titles = sorted(item["title"] for item in (await events.upcoming(EventFilters(), 10)).items)
    assert titles == ["One", "Three", "Two!"]
    with pytest.raises(FlowError) as caught:
        await events.upsert_imported([draft()])
    assert caught.value.kind is INVALID_REQUEST


async def test_an_update_from_the_source_keeps_id_and_room(events: MongoEvents) -> None:
    await events.upsert_imported([imported("1", "One")])
    (before,) = (await events.upcoming(EventFilters(), 10)).items
    await events.upsert_imported([imported("1", "Two")])
    (after,) = (await events.upcoming(EventFilters(), 10)).items
    assert (after["_id"], after["room"], after["createdAt"]) == (before["_id"], before["room"], before["createdAt"])
    assert after["title"] == "Two"


async def test_imports_at_once_make_each_event_once(events: MongoEvents) -> None:
    documents = [imported(str(n), f"E{n}") for n in range(100)]
    orders = [documents[first:] + documents[:first] for first in range(0, 100, 8)]
    outcomes = await asyncio.gather(*(events.upsert_imported(order) for order in orders))
    assert len((await events.upcoming(EventFilters(), 100)).items) == 100
    assert all(set(one) <= {"imported", "unchanged", "updated"} for one in outcomes)
