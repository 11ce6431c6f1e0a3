"""Changes of the view through its store."""

import asyncio

import msgspec
import pytest

from cluster.kernel.clock import ManualClock, SystemClock
from cluster.kernel.errors import UNAVAILABLE, FlowError
from cluster.placement.membership import GIVE_UP_S, announce, change, held_by, start_draining, take, withdraw
from cluster.placement.view import Member, View, joined
from tests.placement.contract_view_store import ViewStoreContract, a_member
from tests.support.view_store import MemoryViewStore

CLOCK = SystemClock()


class TestMemoryViewStore(ViewStoreContract):
    @pytest.fixture
    def store(self) -> MemoryViewStore:
        return MemoryViewStore()


@pytest.fixture
def store() -> MemoryViewStore:
    return MemoryViewStore()


async def test_announcing_adds_replaces_and_repeats_without_harm(store: MemoryViewStore) -> None:
    first = await announce(store, a_member("host-0"), CLOCK)
    again = await announce(store, a_member("host-0"), CLOCK)
    after_restart = await announce(store, a_member("host-0", "b"), CLOCK)
    assert (first.version, again.version, after_restart.version) == (1, 1, 2)
    assert after_restart.members == (a_member("host-0", "b"),)
    assert await store.load() == after_restart


async def test_withdrawing_takes_out_the_incarnation_that_is_meant(store: MemoryViewStore) -> None:
    await announce(store, a_member("host-0", "b"), CLOCK)
    assert (await withdraw(store, "host-0", CLOCK, incarnation="a")).version == 1
    assert (await withdraw(store, "host-1", CLOCK)).version == 1
    gone = await withdraw(store, "host-0", CLOCK, incarnation="b")
    assert (gone.version, gone.members) == (2, ())
    await announce(store, a_member("host-0", "c"), CLOCK)
    assert (await withdraw(store, "host-0", CLOCK)).members == ()


async def test_draining_is_done_once(store: MemoryViewStore) -> None:
    await announce(store, a_member("host-0"), CLOCK)
    view = await start_draining(store, "host-0", CLOCK)
    assert view == await start_draining(store, "host-0", CLOCK)
    assert (view.version, view.members[0].state) == (2, "draining")
    assert (await start_draining(store, "host-1", CLOCK)).version == 2


async def test_a_write_whose_answer_was_lost_is_not_made_twice(store: MemoryViewStore) -> None:
    store.forget_answers = 1
    view = await announce(store, a_member("host-0"), CLOCK)
    assert (view.version, view.members) == (1, (a_member("host-0"),))


async def test_a_store_that_comes_back_in_time_is_waited_for() -> None:
    class AwayAtFirst(MemoryViewStore):
        async def load(self) -> View | None:
            self.away = self.loads < 2
            return await super().load()

        async def recent(self) -> View | None:
            raise FlowError(UNAVAILABLE)

    assert (await announce(AwayAtFirst(), a_member("host-0"), CLOCK)).version == 1


class CutOff(MemoryViewStore):
    """Without a proof it answers what it had when it was cut off."""

    had: View | None = None

    async def recent(self) -> View | None:
        await super().recent()
        return self.had


async def test_what_changes_is_proven_by_the_change_itself(store: MemoryViewStore) -> None:
    await announce(store, a_member("host-0"), CLOCK)
    assert await take(store, a_member("host-0", "b"), CLOCK, instead_of="a") is not None
    assert (store.loads, store.looks) == (0, 2)


async def test_a_change_of_an_old_view_is_made_to_the_newest() -> None:
    store = CutOff()
    store.had = await announce(store, a_member("host-0"), CLOCK)
    await announce(store, a_member("host-1"), CLOCK)
    view = await announce(store, a_member("host-2"), CLOCK)
    assert [member.name for member in view.members] == ["host-0", "host-1", "host-2"]


async def test_that_nothing_needs_to_change_is_believed_of_a_proven_view_alone() -> None:
    store = CutOff()
    await announce(store, a_member("host-0", "b"), CLOCK)
    await withdraw(store, "host-0", CLOCK)
    assert await store.load() == View(2)
    store.had = await announce(store, a_member("host-0", "c"), CLOCK)
    await announce(store, a_member("host-0", "d"), CLOCK)
    assert await take(store, a_member("host-0", "e"), CLOCK, instead_of="d") is not None


async def test_the_tries_are_bounded_in_time() -> None:
    clock = ManualClock()

    tries: list[int] = []

    def lose(view: View) -> View:
        tries.append(view.version)
        clock.advance(GIVE_UP_S / 3)
        return View(view.version + 1)

    class Contended(MemoryViewStore):
        async def compare_and_set(self, expected_version: int, view: View) -> bool:
            return False

    with pytest.raises(FlowError) as caught:
        await change(Contended(), lose, clock)
    assert caught.value.kind is UNAVAILABLE
    assert len(tries) <= 4


async def test_a_change_is_made_on_the_newest_view() -> None:
    seen: list[int] = []

    class Overtaken(MemoryViewStore):
        async def compare_and_set(self, expected_version: int, view: View) -> bool:
            if not seen[1:]:
                await super().compare_and_set(0, joined(View(), a_member("host-9")))
            return await super().compare_and_set(expected_version, view)

    def edit(view: View) -> View:
        seen.append(view.version)
        return joined(view, a_member("host-0"))

    view = await change(Overtaken(), edit, CLOCK)
    assert seen == [0, 1]
    assert [member.name for member in view.members] == ["host-0", "host-9"]


def of_process(name: str, incarnation: str, process: str) -> Member:
    return msgspec.structs.replace(a_member(name, incarnation), process=process)


async def test_a_name_goes_to_whoever_is_first_after_a_death() -> None:
    """The standby that the supervisor sends and the process that Ray starts again race: one of them has the name."""
    for first in (0, 1):
        store = MemoryViewStore()
        assert await take(store, of_process("host-0", "a", "p-1"), CLOCK) is not None
        again = take(store, of_process("host-0", "b", "p-1"), CLOCK, instead_of="a")
        standby = take(store, of_process("host-0", "c", "p-2"), CLOCK, instead_of="a")
        outcomes = await asyncio.gather(*((again, standby) if first == 0 else (standby, again)))
        view = await store.load()
        assert sum(outcome is not None for outcome in outcomes) == 1
        assert view is not None
        assert view.version == 2


async def test_who_comes_late_displaces_nobody_and_finds_that_it_holds_nothing() -> None:
    store = MemoryViewStore()
    await take(store, of_process("host-0", "a", "p-1"), CLOCK)
    promoted = await take(store, of_process("host-0", "c", "p-2"), CLOCK, instead_of="a")
    assert promoted is not None
    assert held_by(promoted, "p-1") is None
    assert await take(store, of_process("host-0", "b", "p-1"), CLOCK, instead_of="a") is None
    assert await store.load() == promoted


async def test_a_process_that_starts_again_has_its_name_back_and_stays_draining() -> None:
    store = MemoryViewStore()
    await take(store, of_process("host-0", "a", "p-1"), CLOCK)
    await start_draining(store, "host-0", CLOCK)
    view = await take(store, of_process("host-0", "b", "p-1"), CLOCK, instead_of="a")
    assert view is not None
    member = held_by(view, "p-1")
    assert member is not None
    assert (member.incarnation, member.state) == ("b", "draining")


async def test_a_name_that_was_taken_out_is_not_taken_in_its_place() -> None:
    store = MemoryViewStore()
    await take(store, of_process("host-0", "a", "p-1"), CLOCK)
    await withdraw(store, "host-0", CLOCK)
    assert await take(store, of_process("host-0", "b", "p-1"), CLOCK, instead_of="a") is None
    assert await take(store, of_process("host-0", "b", "p-1"), CLOCK) is not None
