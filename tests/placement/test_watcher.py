"""The newest view one process knows."""

from collections.abc import AsyncIterator

import pytest

from cluster.kernel.clock import ManualClock, SystemClock
from cluster.kernel.errors import UNAVAILABLE, FlowError
from cluster.kernel.tasks import TaskOwner
from cluster.placement.membership import announce
from cluster.placement.view import View, joined, left
from cluster.placement.watcher import ViewWatcher
from tests.placement.contract_view_store import a_member
from tests.support.journal import Journal
from tests.support.view_store import MemoryViewStore

CLOCK = SystemClock()
NEVER_S = 3_600.0
OFTEN_S = 0.01


class Watched:
    """A watcher, its store, and the versions it told of."""

    def __init__(self) -> None:
        self.store = MemoryViewStore()
        self.tasks = TaskOwner("test", on_failure=lambda name, error: self.told.add(error))
        self.told = Journal()

    def watcher(self, poll_interval_s: float) -> ViewWatcher:
        return ViewWatcher(
            self.store, self.tasks, lambda view: self.told.add(view.version), poll_interval_s=poll_interval_s
        )

    async def announce(self, name: str) -> View:
        return await announce(self.store, a_member(name), CLOCK)


@pytest.fixture
async def watched() -> AsyncIterator[Watched]:
    made = Watched()
    yield made
    await made.tasks.stop()


async def test_it_starts_with_what_is_stored(watched: Watched) -> None:
    view = await watched.announce("host-0")
    watcher = watched.watcher(NEVER_S)
    assert watcher.view == View()
    assert await watcher.start() == view == watcher.view
    assert watched.told.entries == [1]


async def test_it_starts_with_a_view_that_is_known_and_asks_an_interval_later(watched: Watched) -> None:
    clock, read = ManualClock(), Journal()
    watcher = ViewWatcher(
        watched.store,
        watched.tasks,
        lambda view: watched.told.add(view.version),
        poll_interval_s=NEVER_S,
        on_read=lambda view, asked_at: read.add((view.version, asked_at)),
        clock=clock,
    )
    view = await watched.announce("host-0")
    looks = watched.store.looks
    assert await watcher.start(view, clock.monotonic()) == view == watcher.view
    assert (watched.told.entries, watched.store.loads, watched.store.looks) == ([1], 0, looks)
    await watched.announce("host-1")
    watcher.refresh_soon()
    await watched.told.has(2)
    assert (watched.store.loads, read.entries) == (0, []), "news, and no proof before its time"
    clock.advance(NEVER_S)
    watcher.refresh_soon()
    await read.has((2, NEVER_S))


async def test_it_starts_without_a_view(watched: Watched) -> None:
    watcher = watched.watcher(OFTEN_S)
    assert await watcher.start() == View()
    view = await watched.announce("host-0")
    await watched.told.has(1)
    assert watcher.view == view


async def test_it_cannot_start_without_its_store(watched: Watched) -> None:
    watched.store.away = True
    with pytest.raises(FlowError) as caught:
        await watched.watcher(NEVER_S).start()
    assert caught.value.kind is UNAVAILABLE
    assert len(watched.tasks) == 0


async def test_it_sees_changes_by_polling_and_tells_each_once(watched: Watched) -> None:
    watcher = watched.watcher(OFTEN_S)
    await watcher.start()
    for version in (1, 2, 3):
        await watched.announce(f"host-{version}")
        await watched.told.has(version)
    assert watched.told.entries == [1, 2, 3]


async def test_it_looks_at_once_when_told(watched: Watched) -> None:
    watcher = watched.watcher(NEVER_S)
    await watcher.start()
    await watched.announce("host-0")
    watcher.refresh_soon()
    watcher.refresh_soon()
    await watched.told.has(1)
    assert watcher.statistics().loads == 2


async def test_a_view_from_elsewhere_counts_if_it_is_newer(watched: Watched) -> None:
    watcher = watched.watcher(NEVER_S)
    older = joined(View(), a_member("host-0"))
    newer = joined(older, a_member("host-1"))
    assert watcher.offer(newer)
    assert not watcher.offer(older)
    assert not watcher.offer(left(older, "host-0"))
    assert watcher.view is newer
    assert watched.told.entries == [2]


async def test_a_store_behind_what_is_known_changes_nothing(watched: Watched) -> None:
    await watched.announce("host-0")
    watcher = watched.watcher(OFTEN_S)
    newest = View(9, (a_member("host-3"),))
    watcher.offer(newest)
    await watcher.start()
    assert watcher.view is newest
    assert watched.told.entries == [9]


async def test_it_outlives_a_store_that_is_away(watched: Watched) -> None:
    view = await watched.announce("host-0")
    watcher = watched.watcher(OFTEN_S)
    await watcher.start()
    watched.store.away = True
    failed = Journal()
    recent = watched.store.recent

    async def look_and_tell() -> View | None:
        try:
            return await recent()
        except FlowError:
            failed.add("failed")
            raise

    watched.store.recent = look_and_tell  # type: ignore[method-assign]
    await failed.has("failed", times=3)
    assert watcher.view == view
    assert watcher.statistics().loads_failed >= 2
    watched.store.away = False
    await watched.announce("host-1")
    await watched.told.has(2)


async def test_it_outlives_a_listener_that_fails(watched: Watched) -> None:
    def fail(view: View) -> None:
        watched.told.add(view.version)
        raise RuntimeError("for the test")

    watcher = ViewWatcher(watched.store, watched.tasks, fail, poll_interval_s=OFTEN_S)
    await watcher.start()
    for version in (1, 2):
        await watched.announce(f"host-{version}")
        await watched.told.has(version)
    assert watched.told.entries == [1, 2]


async def test_each_answer_of_the_store_is_told_with_when_it_was_asked_for(watched: Watched) -> None:
    clock = ManualClock()
    read = Journal()
    watcher = ViewWatcher(
        watched.store,
        watched.tasks,
        lambda view: read.add(("changed", view.version)),
        poll_interval_s=OFTEN_S,
        on_read=lambda view, asked_at: read.add((view.version, asked_at)),
        clock=clock,
    )
    await watched.announce("host-0")
    load = watched.store.load

    async def slowly() -> View | None:
        view = await load()
        clock.advance(10.0)
        return view

    watched.store.load = slowly  # type: ignore[method-assign]
    await watcher.start()
    await read.has((1, 10.0))
    assert read.entries[:3] == [("changed", 1), (1, 0.0), (1, 10.0)]


async def test_a_proof_is_asked_for_once_an_interval_and_news_in_between(watched: Watched) -> None:
    clock, read = ManualClock(), Journal()
    watcher = ViewWatcher(
        watched.store,
        watched.tasks,
        lambda view: watched.told.add(view.version),
        poll_interval_s=NEVER_S,
        on_read=lambda view, asked_at: read.add((view.version, asked_at)),
        clock=clock,
    )
    await watched.announce("host-0")
    await watcher.start()
    loads, looks = watched.store.loads, watched.store.looks
    for version in (2, 3):
        await watched.announce(f"host-{version}")
        watcher.refresh_soon()
        await watched.told.has(version)
    await watched.announce("host-4")
    await watcher.look()
    assert (watched.store.loads, watched.store.looks) == (loads, looks + 3 + 3)  # each announcement looks once, too
    assert read.entries == [(1, 0.0)]
    clock.advance(NEVER_S)
    watcher.refresh_soon()
    await read.has((4, NEVER_S))
    assert watched.store.looks == looks + 3 + 3


async def test_who_listens_for_no_proof_asks_for_none(watched: Watched) -> None:
    watcher = watched.watcher(OFTEN_S)
    await watcher.start()
    view = await watched.announce("host-0")
    loads = watched.store.loads
    await watched.told.has(1)
    assert watcher.view == view
    assert watched.store.loads == loads


async def test_a_look_has_told_what_it_found_when_it_returns(watched: Watched) -> None:
    watcher = watched.watcher(NEVER_S)
    await watcher.start()
    view = await watched.announce("host-0")
    await watcher.look()
    assert watcher.view == view
    assert watched.told.entries == [view.version]
    watched.store.away = True
    await watcher.look()
    assert watcher.view == view
    assert watcher.statistics().loads_failed == 1
