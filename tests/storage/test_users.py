"""Accounts and profiles on real MongoDB."""

import asyncio

import msgspec
import pytest

from cluster.kernel.clock import ManualClock
from cluster.kernel.errors import INVALID_REQUEST, USER_NOT_FOUND, USERNAME_TAKEN, FlowError
from cluster.kernel.ids import new_id
from storage.records import User
from storage.users import MongoUsers
from tests.conftest import OpenDatabase

pytestmark = pytest.mark.storage


@pytest.fixture
async def users(open_database: OpenDatabase) -> MongoUsers:
    return MongoUsers(await open_database("users"), ManualClock())


def user(username: str, **changes: object) -> User:
    given = {"id": new_id(), "username": username, "email": None, "password_hash": "hash", "name": username.title()}
    return User(**(given | changes))  # type: ignore[arg-type]


async def test_an_account_comes_back_whole(users: MongoUsers) -> None:
    anna = user(
        "Anna",
        email="anna@example.org",
        bio="Climbs ✓",
        avatar="https://example.org/a.png",
        interests=("jazz", "go"),
        traits=("calm",),
        coordinates=(13.4, 52.5),
        points=7,
        rating=4.5,
        roles=("admin",),
        notification_preferences={"message": False},
        created_at_ms=1_700_000_000_123,
    )
    await users.create(anna)
    assert await users.by_id(anna.id) == anna
    assert await users.by_username("aNNa") == anna
    assert await users.by_id("nobody") is None
    assert await users.by_username("nobody") is None


async def test_many_are_found_in_the_order_asked(users: MongoUsers) -> None:
    people = [user(f"user{n}") for n in range(5)]
    for one in people:
        await users.create(one)
    found = await users.by_ids([people[3].id, "nobody", people[1].id])
    assert [one.username for one in found] == ["user3", "user1"]
    assert await users.by_ids([]) == []


@pytest.mark.parametrize(
    "second",
    [{"username": "ANNA"}, {"username": "other", "email": "A@Example.org"}],
    ids=["username", "email"],
)
async def test_a_username_and_an_email_are_taken_without_case(users: MongoUsers, second: dict) -> None:
    await users.create(user("anna", email="a@example.ORG"))
    with pytest.raises(FlowError) as caught:
        await users.create(user(**second))
    assert caught.value.kind is USERNAME_TAKEN


async def test_many_may_have_no_email(users: MongoUsers) -> None:
    for n in range(3):
        await users.create(user(f"user{n}"))


async def test_of_those_who_race_for_a_username_one_gets_it(users: MongoUsers) -> None:
    racers = [users.create(user("anna")) for _ in range(8)]
    results = await asyncio.gather(*racers, return_exceptions=True)
    assert sum(result is None for result in results) == 1


async def test_creating_the_same_account_again_changes_nothing(users: MongoUsers) -> None:
    anna = user("anna")
    await users.create(anna)
    await users.create(anna)


async def test_a_profile_changes_field_by_field(users: MongoUsers) -> None:
    anna = user("anna", coordinates=(1.0, 2.0), interests=("jazz",))
    await users.create(anna)
    changed = await users.update_profile(anna.id, {"bio": "new", "coordinates": (3.0, 4.0), "traits": ("kind",)})
    assert (changed.bio, changed.coordinates, changed.traits) == ("new", (3.0, 4.0), ("kind",))
    assert changed.interests == ("jazz",)
    changed = await users.update_profile(
        anna.id, {"coordinates": None, "notification_preferences": {"message": True}, "interests": []}
    )
    assert (changed.coordinates, changed.notification_preferences, changed.interests) == (None, {"message": True}, ())
    assert await users.by_id(anna.id) == changed


async def test_nobody_gives_themselves_points(users: MongoUsers) -> None:
    anna = user("anna")
    await users.create(anna)
    with pytest.raises(FlowError) as caught:
        await users.update_profile(anna.id, {"points": 1_000, "name": "x"})
    assert (caught.value.kind, caught.value.fields) == (INVALID_REQUEST, ("points",))
    with pytest.raises(FlowError) as caught:
        await users.update_profile(anna.id, {"coordinates": (200.0, 0.0)})
    assert caught.value.kind is INVALID_REQUEST
    assert (await users.by_id(anna.id)).name == "Anna"


async def test_a_password_changes_alone(users: MongoUsers) -> None:
    anna = user("anna")
    await users.create(anna)
    await users.set_password_hash(anna.id, "other")
    created_at_ms = ManualClock().now_ms()
    expected = msgspec.structs.replace(anna, password_hash="other", created_at_ms=created_at_ms)
    assert await users.by_id(anna.id) == expected
    with pytest.raises(FlowError) as caught:
        await users.set_password_hash("nobody", "x")
    assert caught.value.kind is USER_NOT_FOUND
