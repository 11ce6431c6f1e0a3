"""How many go to each event: only what changed is read, a rush is caught up with, and the newest events stay."""

from typing import Any

import pytest

from storage.client import Database
from storage.going_counts import GoingCounts
from tests.conftest import OpenDatabase

pytestmark = pytest.mark.storage


async def answered(database: Database, *answers: tuple[str, str, str, int]) -> None:
    """(event, person, status, time); a person's newer answer takes the place of the older."""
    rows = database.collection("rsvps")
    for event_id, user_id, status, at_ms in answers:
        row: dict[str, Any] = {"event_id": event_id, "user_id": user_id, "status": status, "at_ms": at_ms}
        await rows.update_one({"_id": f"{event_id}/{user_id}"}, {"$set": row}, upsert=True)


async def rush(database: Database, event_id: str, people: int, at_ms: int) -> None:
    rows = [
        {"_id": f"{event_id}/{n}", "event_id": event_id, "user_id": f"{n}", "status": "going", "at_ms": at_ms + n}
        for n in range(people)
    ]
    await database.collection("rsvps").insert_many(rows)


async def test_counts_follow_what_changes(open_database: OpenDatabase) -> None:
    database = await open_database("rsvps")
    counts = GoingCounts(database)
    await answered(database, ("e", "a", "going", 1_000_000), ("e", "b", "going", 1_000_001))
    assert await counts.counts() == {"e": 2}
    await answered(database, ("e", "a", "declined", 1_000_002), ("f", "c", "interested", 1_000_003))
    assert await counts.counts() == {"e": 1}
    await answered(database, ("e", "b", "declined", 1_000_004))
    assert await counts.counts() == {}


async def test_a_rush_of_more_than_a_page_within_the_overlap_is_caught_up_with(open_database: OpenDatabase) -> None:
    database = await open_database("rsvps")
    counts = GoingCounts(database, page_rows=10, pages=3)
    await answered(database, ("old", "a", "going", 1_000_000))
    assert await counts.counts() == {"old": 1}
    await rush(database, "first", 25, 1_000_001)
    await rush(database, "second", 20, 1_000_100)
    assert (await counts.counts())["first"] == 25
    assert (await counts.counts())["second"] == 20
    await answered(database, ("third", "a", "going", 1_000_200))
    for _ in range(2):
        seen = await counts.counts()
    assert seen == {"old": 1, "first": 25, "second": 20, "third": 1}


async def test_of_too_many_events_the_newest_stay(open_database: OpenDatabase) -> None:
    database = await open_database("rsvps")
    counts = GoingCounts(database, most_events=2)
    await answered(database, *((event_id, "a", "going", 1_000) for event_id in ("01", "03", "02")))
    assert await counts.counts() == {"03": 1, "02": 1}
    await answered(database, ("04", "a", "going", 1_001))
    assert await counts.counts() == {"04": 1, "03": 1}
    await answered(database, ("01", "b", "going", 1_002))
    assert await counts.counts() == {"04": 1, "03": 1}
