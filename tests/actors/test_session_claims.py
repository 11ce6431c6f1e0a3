"""Claims of sessions by the batch: who is claimed together, and what each hears of it."""

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest

from actors.session_claims import SessionClaims
from cluster.kernel.errors import MOVED, UNAVAILABLE, USER_NOT_FOUND, FlowError
from cluster.kernel.tasks import TaskOwner
from storage.records import SessionHead
from tests.support.memory_storage import MemoryNotifications


class Counted(MemoryNotifications):
    def __init__(self) -> None:
        super().__init__()
        self.batches: list[list[str]] = []

    async def claim(self, user_ids: Sequence[str]) -> dict[str, SessionHead]:
        self.batches.append(list(user_ids))
        return await super().claim(user_ids)


@pytest.fixture
async def tasks() -> AsyncIterator[TaskOwner]:
    owner = TaskOwner("claims")
    yield owner
    await owner.stop()


async def people(count: int) -> tuple[Counted, list[str]]:
    notifications, names = Counted(), [f"user{number}" for number in range(count)]
    for name in names:
        await notifications.put_user(name)
    return notifications, names


async def test_those_who_come_meanwhile_form_the_next_batch(tasks: TaskOwner) -> None:
    notifications, names = await people(900)
    claims = SessionClaims(notifications, tasks, lambda: True)
    heads = await asyncio.gather(*(claims.claim(name) for name in names))
    assert [head.user_id for head in heads] == names
    assert [len(batch) for batch in notifications.batches] == [500, 400]
    assert (await claims.claim(names[0])).epoch == 2
    assert claims.statistics() == {"session_claims_queued": 0, "session_claim_batches": 3}


async def test_one_person_is_never_twice_in_a_batch(tasks: TaskOwner) -> None:
    notifications, names = await people(2)
    claims = SessionClaims(notifications, tasks, lambda: True)
    order = [names[0], names[0], names[1], names[0]]
    heads = await asyncio.gather(*(claims.claim(name) for name in order))
    assert [head.epoch for head in heads] == [1, 2, 1, 3]
    assert notifications.batches == [names, names[:1], names[:1]]


async def test_who_does_not_exist_is_refused_alone(tasks: TaskOwner) -> None:
    notifications, names = await people(1)
    claims = SessionClaims(notifications, tasks, lambda: True)
    found, missing = await asyncio.gather(claims.claim(names[0]), claims.claim("nobody"), return_exceptions=True)
    assert isinstance(found, SessionHead)
    assert isinstance(missing, FlowError)
    assert missing.kind is USER_NOT_FOUND


async def test_everyone_in_a_batch_that_failed_hears_it_and_the_next_is_tried(tasks: TaskOwner) -> None:
    notifications, names = await people(2)
    notifications.faults.next.append("after")
    claims = SessionClaims(notifications, tasks, lambda: True)
    failed = await asyncio.gather(*(claims.claim(name) for name in names), return_exceptions=True)
    assert [error.kind for error in failed if isinstance(error, FlowError)] == [UNAVAILABLE] * 2
    assert (await claims.claim(names[0])).epoch == 2


async def test_a_host_that_was_replaced_while_claims_waited_takes_nobody(tasks: TaskOwner) -> None:
    notifications, names = await people(1)
    is_owner = [True]
    claims = SessionClaims(notifications, tasks, lambda: is_owner[0])
    asked = asyncio.ensure_future(claims.claim(names[0]))
    is_owner[0] = False
    with pytest.raises(FlowError) as caught:
        await asked
    assert caught.value.kind is MOVED
    assert notifications.batches == []


async def test_who_gave_up_waiting_harms_nobody_else(tasks: TaskOwner) -> None:
    notifications, names = await people(2)
    claims = SessionClaims(notifications, tasks, lambda: True)
    given_up, patient = (asyncio.ensure_future(claims.claim(name)) for name in names)
    await asyncio.sleep(0)
    given_up.cancel()
    assert (await patient).epoch == 1
