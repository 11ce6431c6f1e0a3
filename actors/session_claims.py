"""Claims of user sessions by the batch: those that come while one batch is being claimed form the next.

The loader calls it when people connect. Each claim stands for itself: who does not exist is refused alone, and one
person is never twice in a batch, so no two claims are answered with one epoch. It never tries again by itself.
"""

import asyncio
from collections import deque
from collections.abc import Callable

from cluster.kernel.errors import MOVED, USER_NOT_FOUND, FlowError
from cluster.kernel.tasks import TaskOwner
from storage.bounds import MAX_ROWS
from storage.ports import Notifications
from storage.records import SessionHead

_Waiting = tuple[str, "asyncio.Future[SessionHead]"]


class SessionClaims:
    """One batch is in flight at a time. `may_claim` is asked again right before each: a claim may have waited."""

    def __init__(self, notifications: Notifications, tasks: TaskOwner, may_claim: Callable[[], bool]) -> None:
        self._notifications = notifications
        self._tasks = tasks
        self._may_claim = may_claim
        # At most one entry a session that loads, so the loader's limits are this queue's bound.
        self._waiting: deque[_Waiting] = deque()
        self._is_running = False
        self.batches = 0

    async def claim(self, user_id: str) -> SessionHead:
        """Raises FlowError USER_NOT_FOUND, MOVED or UNAVAILABLE."""
        future: asyncio.Future[SessionHead] = asyncio.get_running_loop().create_future()
        self._waiting.append((user_id, future))
        if not self._is_running:
            _ = self._tasks.start("claim sessions", self._run())
            self._is_running = True
        return await future

    async def _run(self) -> None:
        try:
            while self._waiting:
                await self._claim(self._next_batch())
        finally:
            self._is_running = False

    def _next_batch(self) -> dict[str, "asyncio.Future[SessionHead]"]:
        batch: dict[str, asyncio.Future[SessionHead]] = {}
        later: list[_Waiting] = []
        while self._waiting and len(batch) < MAX_ROWS:
            user_id, future = self._waiting.popleft()
            if user_id in batch:
                later.append((user_id, future))
            else:
                batch[user_id] = future
        self._waiting.extendleft(reversed(later))
        return batch

    async def _claim(self, batch: dict[str, "asyncio.Future[SessionHead]"]) -> None:
        self.batches += 1
        heads: dict[str, SessionHead] = {}
        failure: Exception | None = None
        try:
            if not self._may_claim():
                raise FlowError(MOVED)
            heads = await self._notifications.claim(list(batch))
        except Exception as error:  # noqa: BLE001 - each who waits gets it, and the loader logs what it does not know
            failure = error
        for user_id, future in batch.items():
            if future.done():
                continue  # whoever asked was cancelled meanwhile
            if user_id in heads:
                future.set_result(heads[user_id])
            else:
                future.set_exception(failure or FlowError(USER_NOT_FOUND))

    def statistics(self) -> dict[str, int]:
        return {"session_claims_queued": len(self._waiting), "session_claim_batches": self.batches}
