"""What every Memberships must do. A test module subclasses it and gives the fixture `memberships`."""

import pytest

from cluster.kernel.errors import FlowError
from storage.ports import Memberships


class MembershipsContract:
    async def test_who_was_added_is_a_member_until_removed(self, memberships: Memberships) -> None:
        assert not await memberships.is_member("room", "anna")
        await memberships.add("room", ["anna", "ben", "anna"], 1)
        assert await memberships.is_member("room", "anna")
        assert not await memberships.is_member("other", "anna")
        await memberships.remove("room", "anna")
        await memberships.remove("room", "anna")
        assert not await memberships.is_member("room", "anna")
        assert await memberships.is_member("room", "ben")

    async def test_many_pairs_are_asked_about_at_once(self, memberships: Memberships) -> None:
        await memberships.add("room", ["anna", "ben"], 1)
        await memberships.add("another", ["anna"], 1)
        asked = [(room, name) for room in ("room", "another", "third") for name in ("anna", "ben", "carl")]
        members = {("room", "anna"), ("room", "ben"), ("another", "anna")}
        assert await memberships.members_among([*asked, *asked]) == members
        assert await memberships.members_among([pair for pair in asked if pair not in members]) == set()
        assert await memberships.members_among([]) == set()
        with pytest.raises(FlowError):
            await memberships.members_among([("room", "anna")] * 501)

    async def test_adding_again_adds_the_new_ones_and_keeps_the_marks(self, memberships: Memberships) -> None:
        await memberships.add("room", ["ben"], 1)
        await memberships.mark_read("room", "ben", 7)
        await memberships.add("room", ["anna", "ben", "carl"], 2)
        await memberships.add("room", [], 2)
        assert await memberships.members(["room"], None, 10) == [("room", name) for name in ("anna", "ben", "carl")]
        assert await memberships.read_mark("room", "ben") == 7  # type: ignore[attr-defined]

    async def test_a_read_mark_never_goes_back(self, memberships: Memberships) -> None:
        await memberships.add("room", ["anna"], 1)
        for seq in (3, 9, 5):
            await memberships.mark_read("room", "anna", seq)
        await memberships.mark_read("room", "stranger", 5)
        assert await memberships.read_mark("room", "anna") == 9  # type: ignore[attr-defined]
        assert not await memberships.is_member("room", "stranger")

    async def test_pages_of_members_of_several_rooms(self, memberships: Memberships) -> None:
        people = [f"user{n:02}" for n in range(25)]
        await memberships.add("room", people, 1)
        await memberships.add("another", people[:1], 1)
        await memberships.add("third", people[3:9], 1)
        await memberships.add("of others", people[5:], 1)
        wanted = ["third", "room", "nobody's", "another"]
        pages: list[tuple[str, str]] = []
        while page := await memberships.members(wanted, pages[-1] if pages else None, 10):
            assert len(page) <= 10
            pages += page
        rooms = {"another": people[:1], "room": people, "third": people[3:9]}
        assert pages == [(room, user) for room, users in rooms.items() for user in users]
        assert await memberships.members([], None, 10) == []
        with pytest.raises(FlowError):
            await memberships.members(["room"], None, 501)
        with pytest.raises(FlowError):
            await memberships.members(["room"] * 501, None, 10)

    async def test_pages_of_rooms(self, memberships: Memberships) -> None:
        await memberships.add("room", ["anna"], 1)
        await memberships.add("another", ["anna", "ben"], 1)
        assert await memberships.rooms_of("anna", None, 10) == ["another", "room"]
        assert await memberships.rooms_of("anna", "another", 10) == ["room"]
