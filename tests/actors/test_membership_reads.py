"""Memberships are asked about by the turn of the loop, and each who asks has an answer of its own."""

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest

from actors.membership_reads import MembershipReads
from cluster.kernel.errors import UNAVAILABLE, FlowError
from cluster.kernel.tasks import TaskOwner
from tests.support.memory_chat_log import MemoryMemberships


class Counted(MemoryMemberships):
    def __init__(self) -> None:
        super().__init__()
        self.asked: list[int] = []
        self.error: Exception | None = None

    async def members_among(self, pairs: Sequence[tuple[str, str]]) -> set[tuple[str, str]]:
        self.asked.append(len(pairs))
        if self.error is not None:
            raise self.error
        return await super().members_among(pairs)


@pytest.fixture
def memberships() -> Counted:
    return Counted()


@pytest.fixture
async def reads(memberships: Counted) -> AsyncIterator[MembershipReads]:
    tasks = TaskOwner("host")
    yield MembershipReads(memberships, tasks)
    await tasks.stop()


async def test_what_is_asked_in_one_turn_is_one_question(reads: MembershipReads, memberships: Counted) -> None:
    await memberships.add("room", ["anna"], 1)
    async with asyncio.timeout(5):
        pairs = [("room", "anna"), ("room", "ben"), ("other", "anna")]
        assert await asyncio.gather(*(reads.is_member(*pair) for pair in pairs)) == [True, False, False]
        assert memberships.asked == [3]
        assert await reads.is_member("room", "anna")
        assert memberships.asked == [3, 1]


async def test_a_crowd_is_asked_about_by_what_storage_takes(reads: MembershipReads, memberships: Counted) -> None:
    await memberships.add("room", ["7", "501"], 1)
    async with asyncio.timeout(5):
        answers = await asyncio.gather(*(reads.is_member("room", str(number)) for number in range(1_100)))
    assert [number for number, answer in enumerate(answers) if answer] == [7, 501]
    assert memberships.asked == [500, 500, 100]


@pytest.mark.parametrize("error", [FlowError(UNAVAILABLE), ValueError("a mistake")])
async def test_an_error_comes_to_all_who_asked_and_to_nobody_after_them(
    reads: MembershipReads, memberships: Counted, error: Exception
) -> None:
    memberships.error = error
    async with asyncio.timeout(5):
        answers = await asyncio.gather(*(reads.is_member("room", name) for name in "abc"), return_exceptions=True)
        assert answers == [error] * 3
        memberships.error = None
        assert not await reads.is_member("room", "a")


async def test_who_stops_waiting_harms_no_other(reads: MembershipReads, memberships: Counted) -> None:
    await memberships.add("room", ["ben"], 1)
    async with asyncio.timeout(5), asyncio.TaskGroup() as group:
        anna, ben = (group.create_task(reads.is_member("room", name)) for name in ("anna", "ben"))
        await asyncio.sleep(0)
        anna.cancel()
    assert anna.cancelled()
    assert ben.result()


async def test_nobody_waits_for_a_host_that_has_stopped(memberships: Counted) -> None:
    tasks = TaskOwner("host")
    reads = MembershipReads(memberships, tasks)
    async with asyncio.timeout(5):
        asked = asyncio.ensure_future(reads.is_member("room", "anna"))
        await asyncio.sleep(0)
        await tasks.stop()
        assert (await asyncio.wait([asked]))[0] == {asked}
        assert asked.cancelled()
        with pytest.raises(RuntimeError):
            await reads.is_member("room", "ben")
        with pytest.raises(RuntimeError):
            await reads.is_member("room", "carl")
