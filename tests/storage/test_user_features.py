"""What is known of a person in real time: whole, read together, kept in Redis, and dropped when the person acts."""

import asyncio
import itertools
import time
from collections.abc import Collection

import pytest

from cluster.kernel.errors import UNAVAILABLE, FlowError
from cluster.kernel.ids import new_id
from serve_apps.contracts import Acted, CirclePlans, InteractionRow, ScoredEvent
from storage.catalogue import MongoCatalogue
from storage.dates import to_date
from storage.open import Storage
from storage.recommendation_queries import RecommendationQueries
from storage.records import Device, Rsvp, User
from storage.together import Together
from storage.user_features import MOST_IN_CIRCLE, MOST_PLANS, NOBODY
from tests.conftest import OpenDatabase

NOW_MS = 1_800_000_000_000
"""Later than the machine's clock: an event that ends then is not over."""
SEATS = itertools.count(1)


async def user(storage: Storage, **profile: object) -> str:
    user_id = new_id()
    await storage.users.create(
        User(id=user_id, username=f"u{user_id}", email=None, password_hash="x", name="N", **profile)
    )  # type: ignore[arg-type]
    return user_id


async def an_event(storage: Storage, event_id: str, end_ms: int = NOW_MS, **more: object) -> None:
    """Only an event that is there takes answers; one that is there already stays as it is."""
    times = {"start": to_date(end_ms), "end": to_date(end_ms)}
    await storage.events.create({"_id": event_id, "title": "E", "datetime": times, **more})


async def go(storage: Storage, user_id: str, event_id: str, status: str = "interested", at_ms: int = NOW_MS) -> None:
    await an_event(storage, event_id)
    seat = next(SEATS) if status == "going" else None
    place = next(SEATS) if status == "waiting" else None
    row = Rsvp(event_id=event_id, user_id=user_id, status=status, epoch=0, at_ms=at_ms, seat=seat, place=place)
    assert (await storage.rsvps.append([row], [False])).refusal is None


async def befriend(storage: Storage, user_id: str, friend_id: str) -> None:
    await storage.friendships.ask(user_id, friend_id, NOW_MS)
    await storage.friendships.ask(friend_id, user_id, NOW_MS)


@pytest.mark.storage
async def test_everything_that_is_known_of_a_person(storage: Storage) -> None:
    ada = await user(storage, interests=("jazz",), coordinates=(13.4, 52.5))
    bob, eve = await user(storage), await user(storage)
    mia = await user(storage)
    await befriend(storage, ada, bob)
    await storage.friendships.follow(ada, mia, NOW_MS)
    await go(storage, ada, "answered", "declined")
    for planning in (bob, mia):
        await go(storage, planning, "planned")
    rows = [
        InteractionRow(ada, "seen", "view", 0.3, NOW_MS + 5),
        InteractionRow(ada, "seen", "click", 0.4, NOW_MS + 1),
        InteractionRow(ada, "hidden", "dismiss", 0.0, NOW_MS + 2),
    ]
    await storage.interactions.import_rows(rows)
    await storage.blocks.block(eve, ada, NOW_MS)
    found = await storage.user_features.of(ada)
    assert (found.interests, found.coordinates) == (("jazz",), (13.4, 52.5))
    assert found.history == (
        Acted("hidden", 0.0, NOW_MS + 2),
        Acted("seen", 0.4, NOW_MS + 1),
        Acted("answered", 0.1, NOW_MS),
    )
    assert set(found.known) == {"answered", "hidden"}
    assert found.circle_plans == (CirclePlans("planned", friends_going=0, circle=2),)
    assert found.blocked == (eve,)


@pytest.mark.storage
async def test_friends_go_only_if_they_are_friends_and_go(storage: Storage) -> None:
    """Whoever only follows, asks, waits, is interested, declines or is blocked is no friend who goes."""
    ada, friend, both, followed, asked, blocked = [await user(storage) for _ in range(6)]
    for one in (friend, both, blocked):
        await befriend(storage, ada, one)
    for one in (both, followed):
        await storage.friendships.follow(ada, one, NOW_MS)
    await storage.friendships.follow(asked, ada, NOW_MS)
    await storage.friendships.ask(ada, asked, NOW_MS)
    await storage.blocks.block(ada, blocked, NOW_MS)
    for one in (friend, both, followed, asked, blocked):
        await go(storage, one, "party", "going")
    for event_id, status in (("talk", "interested"), ("full", "waiting"), ("dull", "declined")):
        await go(storage, friend, event_id, status)
    await go(storage, followed, "talk", "going")
    found = await storage.user_features.of(ada)
    assert set(found.circle_plans) == {
        CirclePlans("party", friends_going=2, circle=3),
        CirclePlans("talk", friends_going=0, circle=2),
    }
    assert (await storage.user_features.of(asked)).circle_plans == ()


@pytest.mark.storage
async def test_nobody_goes_to_what_is_over_or_hidden(storage: Storage) -> None:
    ada, friend = await user(storage), await user(storage)
    await befriend(storage, ada, friend)
    await an_event(storage, "over", time.time_ns() // 1_000_000 - 1_000)
    await an_event(storage, "hidden", visibility="private")
    for event_id in ("over", "hidden", "coming"):
        await go(storage, friend, event_id, "going")
    found = await storage.user_features.of(ada)
    assert found.circle_plans == (CirclePlans("coming", friends_going=1, circle=1),)


@pytest.mark.storage
async def test_a_busy_circle_is_read_newest_first_and_takes_nothing_from_others(
    storage: Storage, open_database: OpenDatabase
) -> None:
    database = await open_database("rsvps")
    ada, busy, bob, calm = [await user(storage) for _ in range(4)]
    await befriend(storage, ada, busy)
    await befriend(storage, bob, calm)
    many = MOST_PLANS + 50
    rows = [
        {"_id": f"e{n}/{busy}", "event_id": f"e{n}", "user_id": busy, "status": "interested", "at_ms": n}
        for n in range(many)
    ]
    await database.collection("rsvps").insert_many(rows)
    await go(storage, calm, "e0", "going")
    for event_id in (f"e{many - 1}", "e49"):
        await an_event(storage, event_id)
    both = await asyncio.gather(storage.user_features.of(ada), storage.user_features.of(bob))
    assert [one.circle_plans for one in both] == [
        (CirclePlans(f"e{many - 1}", friends_going=0, circle=1),),
        (CirclePlans("e0", friends_going=1, circle=1),),
    ]


@pytest.mark.storage
async def test_friends_come_before_whoever_is_followed(storage: Storage, open_database: OpenDatabase) -> None:
    database = await open_database("friendships")
    ada, friend = await user(storage), await user(storage)
    rows = [
        {"_id": f"{ada}/follows/{n}", "user_id": ada, "friend_id": f"{n}", "kind": "following", "at_ms": 0}
        for n in range(MOST_IN_CIRCLE)
    ]
    await database.collection("friendships").insert_many(rows)
    await befriend(storage, ada, friend)
    await go(storage, friend, "party", "going")
    found = await storage.user_features.of(ada)
    assert found.circle_plans == (CirclePlans("party", friends_going=1, circle=1),)


@pytest.mark.storage
async def test_it_is_kept_until_the_person_acts(storage: Storage) -> None:
    ada = await user(storage)
    assert (await storage.user_features.of(ada)).history == ()
    await storage.interactions.import_rows([InteractionRow(ada, "e", "click", 0.4, NOW_MS)])
    assert (await storage.user_features.of(ada)).history == ()
    await storage.user_features.acted(ada)
    assert (await storage.user_features.of(ada)).history == (Acted("e", 0.4, NOW_MS),)
    assert await storage.user_features.of(new_id()) == NOBODY


@pytest.mark.storage
async def test_many_at_once_are_read_together(storage: Storage) -> None:
    people = [await user(storage, interests=(f"i{number}",)) for number in range(20)]
    found = await asyncio.gather(*(storage.user_features.of(user_id) for user_id in people))
    assert [one.interests for one in found] == [(f"i{number}",) for number in range(20)]
    assert storage.user_features._together.reads <= 4


@pytest.mark.storage
async def test_the_catalogue_tells_what_changed_and_who_goes(storage: Storage, open_database: OpenDatabase) -> None:
    catalogue = MongoCatalogue(await open_database("events", "rsvps", "interactions"))
    start = time.time_ns() // 1_000_000
    times = {"start": to_date(start + 3_600_000), "end": to_date(start + 7_200_000)}
    document = {"title": "A", "datetime": times, "capacity": {"max": 5}, "pricing": {"type": "paid", "amount": 9}}
    first = (await storage.events.create({**document, "organizer": {"id": "o", "name": "O"}}))["_id"]
    changes = await catalogue.changes(start)
    assert changes is not None
    [seen] = changes.events
    assert (seen.event_id, seen.organizer_id, seen.price, seen.capacity) == (first, "o", 9.0, 5)
    assert seen.published_ms >= start
    await storage.events.update(first, {"visibility": "private"})
    again = await catalogue.changes(changes.cursor_ms)
    assert again is not None
    assert [one.is_public for one in again.events] == [False]
    assert again.cursor_ms >= changes.cursor_ms
    await go(storage, "u", first, "interested", start)
    signals = await catalogue.signals(start + 1)
    assert signals.going == {}


@pytest.mark.storage
async def test_a_slow_look_at_what_trends_is_the_last_for_a_while(
    storage: Storage, open_database: OpenDatabase
) -> None:
    start = time.time_ns() // 1_000_000
    moments = iter([0.0, 0.4, 0.4, 0.4, 0.4, 9.4])
    catalogue = MongoCatalogue(await open_database("events", "rsvps", "interactions"), monotonic=lambda: next(moments))
    times = {"start": to_date(start + 3_600_000), "end": to_date(start + 7_200_000)}
    event_id = (await storage.events.create({"title": "A", "datetime": times}))["_id"]
    assert (await catalogue.signals(start)).trending == ()
    await go(storage, "u", event_id, "interested", start)
    assert (await catalogue.signals(start + 39_999)).trending == ()
    for at_ms in (start + 40_000, start + 40_001, start + 100_000):
        assert [one.event_id for one in (await catalogue.signals(at_ms)).trending] == [event_id]
    with pytest.raises(StopIteration):
        next(moments)


@pytest.mark.storage
async def test_who_goes_is_told_though_what_trends_is_not(storage: Storage, open_database: OpenDatabase) -> None:
    """Without the counts a replica recommends what is full. What trended before stays, and the look rests."""

    class Failing(RecommendationQueries):
        looks = 0

        async def trending(self, now_ms: int, limit: int, exclude: Collection[str] = ()) -> list[ScoredEvent]:
            self.looks += 1
            if self.looks > 1:
                raise FlowError(UNAVAILABLE)
            return [ScoredEvent("hot", 1.0)]

    database = await open_database("events", "rsvps", "interactions")
    moments = iter([0.0, 0.1, 20.0, 25.0])
    queries = Failing(database)
    catalogue = MongoCatalogue(database, lambda: next(moments), queries)
    await go(storage, "u", "party", "going", NOW_MS)
    for at_ms in (NOW_MS, NOW_MS + 20_000, NOW_MS + 30_000):
        signals = await catalogue.signals(at_ms)
        assert (signals.trending, signals.going) == ((ScoredEvent("hot", 1.0),), {"party": 1})
    assert queries.looks == 2


async def test_one_read_at_a_time_and_whoever_comes_meanwhile_goes_with_the_next() -> None:
    begun: list[list[str]] = []
    release = asyncio.Event()

    async def read(keys: object) -> dict[str, str]:
        begun.append(list(keys))  # type: ignore[call-overload]
        await release.wait()
        return {key: key.upper() for key in begun[-1] if key != "nobody"}

    together = Together("test", read, most=3)
    asking = [asyncio.ensure_future(together.get(key)) for key in ("a", "b", "b", "a", "c", "d", "nobody")]
    await asyncio.sleep(0)
    release.set()
    assert await asyncio.gather(*asking) == ["A", "B", "B", "A", "C", "D", None]
    assert begun[0][0] == "a"
    assert sorted(key for keys in begun for key in keys) == ["a", "a", "b", "c", "d", "nobody"], (
        "who comes once a read is under way is read anew"
    )
    assert all(len(keys) <= 3 for keys in begun)


async def test_a_read_that_fails_fails_for_those_who_waited_and_for_nobody_else() -> None:
    failing = [True]

    async def read(keys: object) -> dict[str, str]:
        if failing.pop() if failing else False:
            raise FlowError(UNAVAILABLE)
        return {"b": "B"}

    together = Together("test", read)
    with pytest.raises(FlowError):
        await together.get("a")
    assert await together.get("b") == "B"
    await together.close()


@pytest.mark.storage
async def test_the_device_seen_last_says_the_platform(storage: Storage) -> None:
    ada = await user(storage)
    for number, platform in ((2, "ios"), (1, "web")):
        device = Device(
            id=new_id(), user_id=ada, kind="token", value=f"v{number}", platform=platform, last_seen_ms=number
        )
        await storage.devices.register(device)
    found = await storage.user_features.of(ada)
    assert found.platform == "ios"
    assert found.joined_ms is not None
