"""Stopping background tasks: it ends, even when a task loses a cancellation."""

import asyncio

import pytest

from cluster.kernel.tasks import TaskOwner


async def test_a_task_that_loses_a_cancellation_is_asked_again() -> None:
    owner = TaskOwner("test")
    lost = asyncio.Event()

    async def loses_one() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            lost.set()
        await asyncio.Event().wait()

    task = owner.start("loses one", loses_one())
    await asyncio.sleep(0)
    async with asyncio.timeout(10):
        await owner.stop()
    assert lost.is_set()
    assert task.cancelled()
    assert not len(owner)


async def test_a_failure_is_told_and_the_limit_holds() -> None:
    failures: list[tuple[str, BaseException]] = []
    owner = TaskOwner("test", limit=1, on_failure=lambda name, error: failures.append((name, error)))

    async def fails() -> None:
        raise ValueError("broken")

    task = owner.start("fails", fails())
    with pytest.raises(RuntimeError, match="already runs 1"):
        owner.start("second", fails())
    await asyncio.wait({task})
    await asyncio.sleep(0)
    assert [(name, str(error)) for name, error in failures] == [("test.fails", "broken")]
    await owner.stop()
    with pytest.raises(RuntimeError, match="is stopping"):
        owner.start("late", fails())
