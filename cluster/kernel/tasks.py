"""The one way to start a background task: owned, named, awaited on stop, its failure never lost.

A `TaskOwner` belongs to the object whose life the tasks share. A task that fails calls `on_failure` (by default it is
logged); `stop` cancels what runs and awaits all of it. Nothing else in the project may call `create_task`.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any

_log = logging.getLogger("flow.tasks")

_CANCEL_AGAIN_S = 1.0


class TaskOwner:
    """Starts tasks and awaits them. `limit` bounds how many may run at once; past it `start` raises RuntimeError."""

    def __init__(
        self,
        name: str,
        *,
        limit: int = 10_000,
        on_failure: Callable[[str, BaseException], None] | None = None,
    ) -> None:
        self._name = name
        self._limit = limit
        self._on_failure = on_failure
        self._tasks: set[asyncio.Task[Any]] = set()
        self._stopping = False

    def __len__(self) -> int:
        return len(self._tasks)

    def start(self, name: str, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        if self._stopping or len(self._tasks) >= self._limit:
            work.close()
            reason = "is stopping" if self._stopping else f"already runs {self._limit} tasks"
            raise RuntimeError(f"{self._name} {reason}; {name} was not started")
        task = asyncio.get_running_loop().create_task(work, name=f"{self._name}.{name}")
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if task.cancelled():
            return
        error = task.exception()
        if error is None:
            return
        if self._on_failure is not None:
            self._on_failure(task.get_name(), error)
        else:
            _log.error("task %s failed", task.get_name(), exc_info=error)

    async def stop(self) -> None:
        """Cancel every task and wait until each has ended. Safe to call twice.

        A cancellation can be lost: before Python 3.12 `asyncio.wait_for` swallows one that comes as its wait ends, and
        drivers use it. Who has not ended after a while is asked again.
        """
        self._stopping = True
        tasks = set(self._tasks)
        while tasks:
            for task in tasks:
                task.cancel()
            _, tasks = await asyncio.wait(tasks, timeout=_CANCEL_AGAIN_S)
