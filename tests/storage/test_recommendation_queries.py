"""Trending, nearby and social, the catalogue and the training rows on real MongoDB."""

from collections.abc import Iterator
from datetime import timedelta

import pymongo
import pytest

from cluster.kernel.clock import ManualClock
from cluster.kernel.errors import START_FAILED, UNAVAILABLE, FlowError
from serve_apps.contracts import CatalogueEvent, InteractionRow, LiveEvents, ModelPerson
from storage.catalogue import open_catalogue
from storage.client import Database
from storage.dates import to_date
from storage.events import MongoEvents
from storage.friendships import MongoFriendships
from storage.interactions import MongoInteractions
from storage.recommendation_queries import DAY_MS, HALF_LIFE_MS, RecommendationQueries, trend_pipeline
from storage.records import Rsvp, User
from storage.rsvps import MongoRsvpLedger
from storage.settings import StorageSettings
from storage.training_data import open_training_data
from storage.users import MongoUsers
from tests.conftest import OpenDatabase

pytestmark = pytest.mark.storage

NOW_MS = 1_800_000_000_000
BERLIN = (13.4050, 52.5200)


class World:
    """Events with short names, and what people did with them."""

    def __init__(self, database: Database) -> None:
        clock = ManualClock(NOW_MS)
        self.queries = RecommendationQueries(database)
        self.events = MongoEvents(database, clock)
        self.users = MongoUsers(database, clock)
        self.interactions = MongoInteractions(database)
        self.friendships = MongoFriendships(database)
        self.rsvps = MongoRsvpLedger(database)

    async def event(self, name: str, *, days: float = 1, at: tuple[float, float] | None = None, **more: object) -> None:
        start = to_date(NOW_MS) + timedelta(days=days)
        place = None if at is None else {"type": "Point", "coordinates": list(at)}
        times = {"start": start, "end": start + timedelta(hours=2)}
        await self.events.create({"_id": name, "title": name, "datetime": times, "location": place, **more})

    async def did(self, event: str, weight: float, *, ago_ms: int = 0, user: str = "anna") -> None:
        await self.interactions.record(InteractionRow(user, event, "view", weight, NOW_MS - ago_ms))

    async def answered(self, event: str, user: str, status: str, *, ago_ms: int = 0) -> None:
        row = Rsvp(event_id=event, user_id=user, status=status, epoch=1, at_ms=NOW_MS - ago_ms)
        await self.rsvps.append([row], [False])


@pytest.fixture
async def world(open_database: OpenDatabase) -> World:
    return World(await open_database("events", "interactions", "rsvps", "friendships", "users"))


async def test_trending_weighs_what_was_done_and_forgets_slowly(world: World) -> None:
    for name in "abcde":
        await world.event(name)
    await world.did("a", 1.0)
    await world.did("b", 0.5)
    await world.did("b", 0.5, user="ben")
    await world.did("b", 0.5, user="carl")
    await world.did("c", 1.0, ago_ms=HALF_LIFE_MS)
    await world.did("d", 1.0, ago_ms=15 * DAY_MS)
    await world.did("e", 0.0)
    found = await world.queries.trending(NOW_MS, 10)
    assert [one.event_id for one in found] == ["b", "a", "c"]
    assert [one.score for one in found] == pytest.approx([1.5, 1.0, 0.5])
    assert [one.event_id for one in await world.queries.trending(NOW_MS, 1, {"b"})] == ["a"]


async def test_trending_counts_answers_too(world: World) -> None:
    for name in "abc":
        await world.event(name)
    await world.did("a", 0.8)
    await world.answered("b", "anna", "going")
    await world.answered("b", "ben", "declined")
    await world.answered("c", "anna", "interested")
    found = await world.queries.trending(NOW_MS, 10)
    assert [(one.event_id, round(one.score, 6)) for one in found] == [("b", 1.0), ("a", 0.8), ("c", 0.7)]


async def test_the_look_at_what_trends_reads_no_document(world: World, storage_settings: StorageSettings) -> None:
    """A hundred thousand of them lie all over the disk; the index has what is needed, close together."""
    await world.event("a")
    for number in range(30):
        await world.did("a", 0.5, ago_ms=number)
        await world.answered("a", f"u{number}", "interested")
    with pymongo.MongoClient(storage_settings.uri) as client:
        look = {"aggregate": "interactions", "pipeline": trend_pipeline(NOW_MS), "cursor": {}}
        plan = client[storage_settings.database].command("explain", look, verbosity="executionStats")
    assert sum(figures(plan, "totalKeysExamined")) == 60
    assert sum(figures(plan, "totalDocsExamined")) == 0


def figures(plan: object, name: str) -> Iterator[int]:
    """All of that name, however deep."""
    for key, value in plan.items() if isinstance(plan, dict) else enumerate(plan) if isinstance(plan, list) else ():
        if key == name:
            yield int(value)
        else:
            yield from figures(value, name)


async def test_nobody_is_shown_what_is_over_hidden_or_gone(world: World) -> None:
    await world.event("over", days=-1, at=BERLIN)
    await world.event("hidden", at=BERLIN, visibility="private")
    await world.event("shown", at=BERLIN)
    await world.friendships.follow("anna", "ben", 1)
    for name in ("over", "hidden", "gone", "shown"):
        await world.did(name, 1.0)
        await world.answered(name, "ben", "going")
    answers = [
        await world.queries.trending(NOW_MS, 10),
        await world.queries.nearby(NOW_MS, BERLIN, 1_000, 10),
        await world.queries.social("anna", NOW_MS, 10),
    ]
    assert [[one.event_id for one in answer] for answer in answers] == [["shown"]] * 3


async def test_nearby_is_by_distance_within_the_circle(world: World) -> None:
    await world.event("far", at=(13.9, 52.52))
    await world.event("near", at=(13.41, 52.52))
    await world.event("nearest", at=BERLIN)
    await world.event("nowhere")
    found = await world.queries.nearby(NOW_MS, BERLIN, 50_000, 10)
    assert [one.event_id for one in found] == ["nearest", "near", "far"]
    assert found[0].score == pytest.approx(1.0)
    assert found[0].score > found[1].score > found[2].score > 0
    assert [one.event_id for one in await world.queries.nearby(NOW_MS, BERLIN, 5_000, 10, {"near"})] == ["nearest"]


async def test_social_counts_friends_and_those_followed_who_go_or_are_interested(world: World) -> None:
    for name in "abcd":
        await world.event(name)
    await world.friendships.ask("anna", "ben", 1)
    await world.friendships.ask("ben", "anna", 1)
    await world.friendships.follow("anna", "olga", 1)
    await world.friendships.ask("anna", "stranger", 1)
    for user, event, status in (
        ("ben", "a", "going"),
        ("olga", "a", "interested"),
        ("olga", "b", "going"),
        ("ben", "b", "declined"),
        ("ben", "d", "waiting"),
        ("stranger", "c", "going"),
    ):
        await world.answered(event, user, status)
    found = await world.queries.social("anna", NOW_MS, 10)
    assert [one.event_id for one in found] == ["a", "b"]
    assert await world.queries.social("nobody", NOW_MS, 10) == []


async def test_the_catalogue_holds_what_is_not_over(world: World, storage_settings: StorageSettings) -> None:
    await world.event("later", days=3, at=BERLIN, category="music", tags=["jazz"])
    await world.event("soon", days=1, visibility="private")
    await world.event("over", days=-1)
    catalogue = await open_catalogue(storage_settings.uri, storage_settings.database)
    found = await catalogue.live_events(NOW_MS, 2)
    assert await catalogue.live_events(NOW_MS, 1) == LiveEvents(found.events[:1], left_out=1)
    assert await catalogue.live_events(NOW_MS, 9) == found
    await catalogue.close()
    (soon, later), left_out = found.events, found.left_out
    assert left_out == 0
    assert later == CatalogueEvent(
        event_id="later",
        title="later",
        category="music",
        tags=("jazz",),
        coordinates=BERLIN,
        start_ms=NOW_MS + 3 * DAY_MS,
        end_ms=NOW_MS + 3 * DAY_MS + 2 * 3_600_000,
        published_ms=NOW_MS,
    )
    assert (soon.event_id, soon.coordinates, soon.is_public) == ("soon", None, False)


async def test_training_rows_are_interactions_answers_events_and_people(
    world: World, storage_settings: StorageSettings
) -> None:
    await world.event("a", at=BERLIN)
    await world.did("a", 0.3)
    await world.answered("a", "ben", "declined")
    await world.users.create(
        User(
            id="anna", username="anna", email=None, password_hash="x", name="A", interests=("jazz",), coordinates=BERLIN
        )
    )
    source = await open_training_data(storage_settings.uri, storage_settings.database)
    for _ in range(2):
        rows = [row async for page in source.interactions() for row in page]
        assert rows == [
            InteractionRow("anna", "a", "view", 0.3, NOW_MS),
            InteractionRow("ben", "a", "decline", 0.1, NOW_MS),
        ]
    assert [row.event_id async for page in source.events() for row in page] == ["a"]
    people = [row async for page in source.people() for row in page]
    assert people == [ModelPerson(user_id="anna", interests=("jazz",), coordinates=BERLIN)]
    await source.close()


async def test_training_reads_more_than_one_page(world: World, storage_settings: StorageSettings) -> None:
    for first in range(0, 12_000, 500):
        rows = [InteractionRow("anna", f"e{n}", "view", 0.3, n) for n in range(first, first + 500)]
        await world.interactions.import_rows(rows)
    source = await open_training_data(storage_settings.uri, storage_settings.database)
    pages = [len(page) async for page in source.interactions()]
    await source.close()
    assert sum(pages) == 12_000
    assert max(pages) <= 5_000


async def test_a_wrong_address_or_no_server_is_told(storage_settings: StorageSettings) -> None:
    with pytest.raises(FlowError) as caught:
        await open_catalogue("http://127.0.0.1", "flow")
    assert caught.value.kind is START_FAILED
    with pytest.raises(FlowError) as caught:
        await open_training_data("mongodb://127.0.0.1:1/?serverSelectionTimeoutMS=100", "flow")
    assert caught.value.kind is UNAVAILABLE
