"""Sessions that load by the batch: who is read together, and what becomes of each."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence

import pytest

from actors.activation import Activation
from actors.effects import Machine
from actors.limits import HostLimits
from actors.session_loads import SessionLoads
from actors.user_session import UserSession
from cluster.kernel.errors import INTERNAL, MOVED, UNAVAILABLE, USER_NOT_FOUND, FlowError
from cluster.kernel.ids import user_key
from cluster.kernel.tasks import TaskOwner
from storage.records import Notification
from tests.support.memory_storage import MemoryNotifications
from tests.support.virtual_time import run_virtually

ELSEWHERE = 7
"""A shard that is another host's."""


class Counted(MemoryNotifications):
    def __init__(self) -> None:
        super().__init__()
        self.batches: list[list[str]] = []
        self.is_broken = False

    async def unread_of(self, user_ids: Sequence[str]) -> dict[str, int]:
        self.batches.append(list(user_ids))
        if self.is_broken:
            raise ValueError("a mistake")
        return await super().unread_of(user_ids)


class Loads:
    """The `SessionOutcome` of what loads. Epochs are counted from 1."""

    def __init__(self, tasks: TaskOwner, rest_s: float = 0.0) -> None:
        self.storage = Counted()
        self.is_owner = True
        self.epoch = 0
        self.on_loaded: Callable[[Activation], None] = lambda activation: None
        limits = HostLimits(load_attempts=3, load_backoff_s=0.0, session_rest_s=rest_s)
        self.loads = SessionLoads(self.storage, limits, tasks, lambda: self.is_owner, self._next_epoch)
        self.loads.connect(self)
        self._ends: dict[Activation, asyncio.Future[UserSession]] = {}

    def _next_epoch(self, shard: int) -> int:
        if shard == ELSEWHERE:
            raise FlowError(MOVED)
        self.epoch += 1
        return self.epoch

    def loaded(self, activation: Activation, machine: Machine) -> None:
        self.on_loaded(activation)
        assert isinstance(machine, UserSession)
        self._ends[activation].set_result(machine)

    def load_failed(self, activation: Activation, error: FlowError) -> None:
        self._ends[activation].set_exception(error)

    async def people(self, count: int) -> list[str]:
        names = [f"user{number}" for number in range(count)]
        for name in names:
            await self.storage.put_user(name)
        return names

    def begin(self, name: str, shard: int = 0) -> asyncio.Future[UserSession]:
        activation = Activation(user_key(name), shard)
        end = self._ends[activation] = asyncio.get_running_loop().create_future()
        self.loads.load(activation)
        return end

    async def together(self, *names: str) -> list[UserSession | FlowError]:
        ends = await asyncio.gather(*(self.begin(name) for name in names), return_exceptions=True)
        return [end if isinstance(end, UserSession) else error_of(end) for end in ends]


def error_of(end: object) -> FlowError:
    assert isinstance(end, FlowError)
    return end


def kinds(ends: Sequence[UserSession | FlowError]) -> list[object]:
    return [end.kind if isinstance(end, FlowError) else "loaded" for end in ends]


@pytest.fixture
async def load() -> AsyncIterator[Loads]:
    owner = TaskOwner("loads")
    yield Loads(owner)
    await owner.stop()


async def test_those_who_come_meanwhile_form_the_next_batch(load: Loads) -> None:
    names = await load.people(900)
    first = load.begin(names[0])
    await asyncio.sleep(0)
    sessions = await load.together(*names[1:])
    assert [session.user_id for session in (await first, *sessions) if isinstance(session, UserSession)] == names
    assert [len(batch) for batch in load.storage.batches] == [1, 500, 399]
    assert load.loads.statistics() == {"session_loads_queued": 0, "session_load_batches": 3}
    assert load.loads.loaded == 900


def test_a_batch_follows_the_last_after_a_rest_and_who_comes_alone_waits_for_nothing() -> None:
    async def go() -> None:
        now, tasks = asyncio.get_running_loop().time, TaskOwner("loads")
        load = Loads(tasks, rest_s=0.01)
        ann, ben, carl, dora = await load.people(4)
        await load.begin(ann)
        assert now() == 0.0
        await asyncio.sleep(0.002)
        second = load.begin(ben)
        await asyncio.sleep(0.004)
        await asyncio.gather(second, load.begin(carl))
        assert now() == pytest.approx(0.01)
        await asyncio.sleep(1.0)
        asked_at = now()
        await load.begin(dora)
        assert now() == asked_at
        assert load.storage.batches == [[ann], [ben, carl], [dora]]
        await tasks.stop()

    run_virtually(go())


async def test_each_has_an_epoch_of_its_own_and_what_it_has_not_read(load: Loads) -> None:
    ann, ben = await load.people(2)
    unread = Notification(id="n1", user_id=ben, type="t", title="T", body="B", data={}, at_ms=1)
    await load.storage.append([unread])
    sessions = await load.together(ann, ben, ann)
    assert [(session.epoch, session.unread) for session in sessions if isinstance(session, UserSession)] == [
        (1, 0),
        (2, 1),
        (3, 0),
    ]


async def test_who_does_not_exist_or_is_another_hosts_is_refused_alone(load: Loads) -> None:
    ann, ben = await load.people(2)
    moved = load.begin(ben, ELSEWHERE)
    assert kinds(await load.together(ann, "nobody", ben)) == ["loaded", USER_NOT_FOUND, "loaded"]
    assert error_of(moved.exception()).kind is MOVED
    assert (load.loads.loaded, load.loads.failed) == (2, 2)


async def test_a_host_that_was_replaced_while_sessions_waited_reads_nobody(load: Loads) -> None:
    (ann,) = await load.people(1)
    asked = load.begin(ann)
    load.is_owner = False
    assert kinds([error_of((await asyncio.gather(asked, return_exceptions=True))[0])]) == [MOVED]
    assert load.storage.batches == []


async def test_an_epoch_is_made_when_the_session_has_been_read(load: Loads) -> None:
    ann, ben = await load.people(2)
    load.storage.faults.next.append("before")
    waits = load.begin(ann)
    load.epoch = 41
    assert (await waits).epoch == 42
    assert (await load.begin(ben)).epoch == 43


@pytest.mark.parametrize("failures", [2, 3])
async def test_storage_that_is_away_is_asked_again_with_those_who_came_meanwhile(load: Loads, failures: int) -> None:
    ann, ben = await load.people(2)
    load.storage.faults.next.extend(["before"] * failures)
    first = load.begin(ann)
    await asyncio.sleep(0)
    second = load.begin(ben)
    ends = await asyncio.gather(first, second, return_exceptions=True)
    assert isinstance(ends[1], UserSession), "it met one failure less"
    assert load.storage.batches[:3] == [[ann], [ann, ben], [ann, ben]]
    if failures == 2:
        assert isinstance(ends[0], UserSession)
    else:
        assert error_of(ends[0]).kind is UNAVAILABLE
        assert load.storage.batches[3:] == [[ben]]


async def test_a_mistake_is_told_to_those_it_meets_and_the_next_is_tried(load: Loads) -> None:
    ann, ben = await load.people(2)
    load.storage.is_broken = True
    assert kinds(await load.together(ann, ben)) == [INTERNAL, INTERNAL]
    load.storage.is_broken = False

    def fail(activation: Activation) -> None:
        if activation.key.id == ann:
            raise ValueError("a mistake")

    load.on_loaded = fail
    assert kinds(await load.together(ann, ben)) == [INTERNAL, "loaded"]
