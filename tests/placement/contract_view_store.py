"""What every `ViewStore` promises. A subclass provides the fixture `store`, over a cluster that has no view yet."""

import asyncio

import pytest

from cluster.kernel.clock import SystemClock
from cluster.placement.membership import ViewStore, announce
from cluster.placement.view import Member, View, draining, joined


def a_member(name: str, incarnation: str = "a") -> Member:
    kind = "edge" if name.startswith("edge") else "host"
    return Member(name, kind, incarnation, "127.0.0.1:7000", "node-0")  # type: ignore[arg-type]


class ViewStoreContract:
    async def test_at_first_there_is_none(self, store: ViewStore) -> None:
        assert await store.load() is None
        assert await store.recent() is None

    async def test_what_was_stored_is_loaded(self, store: ViewStore) -> None:
        view = View()
        for name in ("host-0", "edge-0"):
            after = joined(view, a_member(name))
            assert await store.compare_and_set(view.version, after)
            assert await store.load() == after
            assert await store.recent() == after
            view = after
        after = draining(view, "host-0")
        assert await store.compare_and_set(view.version, after)
        assert await store.load() == after

    async def test_another_expectation_stores_nothing(self, store: ViewStore) -> None:
        first = joined(View(), a_member("host-0"))
        assert await store.compare_and_set(0, first)
        assert not await store.compare_and_set(0, joined(View(), a_member("host-1")))
        assert not await store.compare_and_set(7, View(8))
        assert await store.load() == first

    async def test_nothing_is_stored_ahead_of_the_first(self, store: ViewStore) -> None:
        assert not await store.compare_and_set(3, View(4))
        assert await store.load() is None

    async def test_a_version_that_does_not_follow_is_a_mistake(self, store: ViewStore) -> None:
        for version in (0, 2):
            with pytest.raises(ValueError, match="follow"):
                await store.compare_and_set(0, View(version))

    async def test_one_of_many_that_race_wins(self, store: ViewStore) -> None:
        for expected in range(3):
            tries = [View(expected + 1, (a_member(f"host-{number}"),)) for number in range(8)]
            won = await asyncio.gather(*(store.compare_and_set(expected, view) for view in tries))
            assert won.count(True) == 1
            assert await store.load() == await store.recent() == tries[won.index(True)]

    async def test_all_that_announce_themselves_at_once_are_members(self, store: ViewStore) -> None:
        members = [a_member(f"host-{number}") for number in range(8)]
        await asyncio.gather(*(announce(store, member, SystemClock()) for member in members))
        view = await store.load()
        assert view is not None
        assert view.members == tuple(members)
        assert view.version == 8
