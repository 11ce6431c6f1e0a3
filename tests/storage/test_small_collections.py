"""Devices, friendships, invitations, groups, interactions and the cluster's view on real MongoDB."""

import asyncio

import pytest

from cluster.kernel.clock import ManualClock
from cluster.kernel.errors import INVALID_REQUEST, FlowError
from cluster.placement.view import Member, View
from serve_apps.contracts import InteractionRow
from storage.cluster_state import MongoViewStore
from storage.devices import MOST_DEVICES, MongoDevices
from storage.friendships import MongoFriendships
from storage.groups import MongoGroups
from storage.interactions import MongoInteractions
from storage.invitations import MongoInvitations
from storage.records import Device
from tests.conftest import OpenDatabase

pytestmark = pytest.mark.storage


def device(id_: str, user: str = "anna", *, value: str = "token", seen: int = 1) -> Device:
    return Device(id=id_, user_id=user, kind="token", value=value, platform="android", last_seen_ms=seen)


@pytest.fixture
async def devices(open_database: OpenDatabase) -> MongoDevices:
    return MongoDevices(await open_database("devices"))


async def test_a_device_seen_again_keeps_its_id(devices: MongoDevices) -> None:
    await devices.register(device("d1"))
    await devices.register(device("d2", seen=9))
    assert await devices.of_users(["anna"]) == [device("d1", seen=9)]
    assert await devices.by_id("d1") == device("d1", seen=9)


async def test_a_device_that_changes_hands_gets_a_new_id(devices: MongoDevices) -> None:
    """What is owed to the first person's device must not reach the second's."""
    await devices.register(device("d1", "anna"))
    await devices.register(device("d2", "ben"))
    assert await devices.of_users(["anna", "ben"]) == [device("d2", "ben")]
    assert await devices.by_id("d1") is None


async def test_a_person_keeps_the_devices_seen_last(devices: MongoDevices) -> None:
    for n in range(MOST_DEVICES + 3):
        await devices.register(device(f"d{n}", value=f"t{n}", seen=n))
    await devices.register(device("b", "ben", value="b"))
    kept = await devices.of_users(["anna", "ben", "nobody"])
    assert [one.id for one in kept if one.user_id == "anna"] == [f"d{n}" for n in range(MOST_DEVICES + 2, 2, -1)]
    assert [one.id for one in kept if one.user_id == "ben"] == ["b"]


async def test_devices_are_removed(devices: MongoDevices) -> None:
    await devices.register(device("d1", value="t1"))
    await devices.register(device("d2", value="t2"))
    await devices.remove_for_user("ben", "t1")
    await devices.remove_for_user("anna", "t1")
    await devices.remove("d9")
    assert [one.id for one in await devices.of_users(["anna"])] == ["d2"]
    await devices.remove("d2")
    assert await devices.of_users(["anna"]) == []
    assert await devices.of_users([]) == []


async def test_registrations_at_once_leave_one(devices: MongoDevices) -> None:
    await asyncio.gather(*(devices.register(device(f"d{n}", f"user{n % 2}")) for n in range(6)))
    assert len(await devices.of_users(["user0", "user1"])) == 1


async def test_registrations_of_a_token_by_many_people_at_once_all_succeed(devices: MongoDevices) -> None:
    people = [f"user{n}" for n in range(12)]
    for seen in range(20):
        await asyncio.gather(*(devices.register(device(f"d{seen}-{one}", one, seen=seen)) for one in people))
    assert len(await devices.of_users(people)) == 1


@pytest.fixture
async def friendships(open_database: OpenDatabase) -> MongoFriendships:
    return MongoFriendships(await open_database("friendships"))


async def test_friendship_is_asked_for_and_accepted_by_asking_back(friendships: MongoFriendships) -> None:
    assert await friendships.ask("anna", "ben", 1) == "asked"
    assert await friendships.ask("anna", "ben", 2) == "asked"
    assert not await friendships.are_friends("anna", "ben")
    assert await friendships.asking("ben", None, 10) == ["anna"]
    assert await friendships.asked_by("anna", None, 10) == ["ben"]
    assert await friendships.ask("ben", "anna", 3) == "friend"
    assert await friendships.ask("anna", "ben", 4) == "friend"
    assert await friendships.are_friends("anna", "ben")
    assert await friendships.are_friends("ben", "anna")
    assert await friendships.friends_of("anna", None, 10) == ["ben"]
    assert await friendships.friends_of("ben", None, 10) == ["anna"]
    assert await friendships.asking("ben", None, 10) == []
    assert await friendships.end("ben", "anna") is True
    assert await friendships.end("ben", "anna") is False
    assert not await friendships.are_friends("anna", "ben")


async def test_two_who_ask_at_once_are_friends(friendships: MongoFriendships) -> None:
    await asyncio.gather(friendships.ask("anna", "ben", 1), friendships.ask("ben", "anna", 1))
    assert await friendships.are_friends("anna", "ben")
    assert await friendships.are_friends("ben", "anna")


async def test_following_is_one_sided_and_part_of_the_circle(friendships: MongoFriendships) -> None:
    for _ in range(2):
        await friendships.follow("anna", "olga", 1)
    await friendships.ask("anna", "ben", 1)
    await friendships.ask("ben", "anna", 1)
    await friendships.ask("anna", "carl", 1)
    assert await friendships.following("anna", None, 10) == ["olga"]
    assert await friendships.friends_of("anna", None, 10) == ["ben"]
    assert sorted(await friendships.circle("anna", 10)) == ["ben", "olga"]
    await friendships.unfollow("anna", "olga")
    assert await friendships.following("anna", None, 10) == []


async def test_invitations_are_given_and_withdrawn(open_database: OpenDatabase) -> None:
    invitations = MongoInvitations(await open_database("invitations"))
    await invitations.invite("event", ["ben", "anna", "ben"], "olga", 1)
    await invitations.invite("event", ["anna", "carl"], "olga", 2)
    assert await invitations.invited("event", None, 10) == ["anna", "ben", "carl"]
    assert await invitations.invited("event", "anna", 1) == ["ben"]
    await invitations.withdraw("event", "anna")
    assert not await invitations.is_invited("event", "anna")
    assert await invitations.is_invited("event", "ben")
    assert not await invitations.is_invited("other", "ben")


async def test_a_group_is_created_once_and_read(open_database: OpenDatabase) -> None:
    groups = MongoGroups(await open_database("groups"), ManualClock())
    stored = await groups.create({"name": "Runners", "creator": "anna", "tags": ("run",)})
    assert await groups.by_id(stored["_id"]) == stored
    assert await groups.create({"_id": stored["_id"], "name": "Other"}) == stored
    with pytest.raises(FlowError) as caught:
        await groups.create({"description": "nameless"})
    assert caught.value.kind is INVALID_REQUEST


async def test_interactions_are_imported_once(open_database: OpenDatabase) -> None:
    interactions = MongoInteractions(await open_database("interactions"))
    rows = [InteractionRow(f"user{n % 3}", f"event{n}", "view", 0.3, n) for n in range(200)]
    assert await interactions.import_rows(rows[:150]) == 150
    assert await interactions.import_rows(rows) == 50
    assert await interactions.import_rows(rows) == 0
    assert await interactions.import_rows([]) == 0
    assert await interactions.record(InteractionRow("user0", "event0", "attend", 1.0, 0)) is True
    assert await interactions.record(rows[0]) is False


def view(version: int, *names: str) -> View:
    return View(version, tuple(Member(name, "host", "i1", "127.0.0.1:1", "node") for name in names))


@pytest.fixture
async def view_store(open_database: OpenDatabase) -> MongoViewStore:
    return MongoViewStore(await open_database())


async def test_a_view_is_stored_only_after_the_one_it_was_made_from(view_store: MongoViewStore) -> None:
    assert await view_store.load() is None
    assert await view_store.compare_and_set(1, view(2)) is False
    assert await view_store.compare_and_set(0, view(1, "a")) is True
    assert await view_store.compare_and_set(0, view(1, "b")) is False
    assert await view_store.load() == view(1, "a")
    assert await view_store.compare_and_set(1, view(2, "a", "b")) is True
    assert await view_store.compare_and_set(1, view(2, "c")) is False
    assert await view_store.load() == view(2, "a", "b")
    with pytest.raises(ValueError, match="follows"):
        await view_store.compare_and_set(2, view(9))


@pytest.mark.parametrize("start", [0, 1])
async def test_of_those_who_race_exactly_one_succeeds(view_store: MongoViewStore, start: int) -> None:
    if start:
        await view_store.compare_and_set(0, view(1))
    results = await asyncio.gather(*(view_store.compare_and_set(start, view(start + 1, f"h{n}")) for n in range(10)))
    assert sum(results) == 1
    assert await view_store.load() == view(start + 1, f"h{results.index(True)}")
