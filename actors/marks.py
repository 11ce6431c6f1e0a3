"""Read marks: small writes beside the log, in no order with it, a bounded number at a time.

The runner submits commands that carry a mark; each is released once its mark is stored, or refused. A mark never goes
back in storage, so marks may overtake each other.
"""

import logging
from collections import deque
from collections.abc import Callable

from actors.activation import Item
from actors.effects import Effects
from actors.limits import HostLimits
from cluster.kernel.errors import INTERNAL, OVERLOADED, FlowError
from cluster.kernel.tasks import TaskOwner
from storage.ports import Memberships

_log = logging.getLogger("flow.actors")


class MarkWriter:
    def __init__(
        self, memberships: Memberships, limits: HostLimits, tasks: TaskOwner, release: Callable[[Item], None]
    ) -> None:
        self._memberships = memberships
        self._limits = limits
        self._tasks = tasks
        self._release = release
        self._queue: deque[Item] = deque()
        self._workers = 0
        self._written = 0

    def submit(self, item: Item) -> None:
        """Raises FlowError OVERLOADED when too many wait."""
        if len(self._queue) >= self._limits.max_waiting_marks:
            raise FlowError(OVERLOADED, retry_after_ms=self._limits.retry_after_ms)
        self._queue.append(item)
        if self._workers < self._limits.concurrent_marks:
            self._workers += 1
            _ = self._tasks.start("mark", self._work())

    async def _work(self) -> None:
        try:
            while self._queue:
                await self._write(self._queue.popleft())
        finally:
            self._workers -= 1

    async def _write(self, item: Item) -> None:
        effects = item.effects
        assert isinstance(effects, Effects)
        assert effects.mark is not None
        mark = effects.mark
        try:
            await self._memberships.mark_read(mark.room_id, mark.user_id, mark.seq)
        except FlowError as error:
            item.refuse(error)
            return
        except Exception:  # noqa: BLE001 - logged with its trace; whoever waits is told
            _log.exception("a read mark of %s cannot be written", mark.room_id)
            item.refuse(FlowError(INTERNAL))
            return
        self._written += 1
        self._release(item)

    def statistics(self) -> dict[str, int]:
        return {"marks_queued": len(self._queue), "marks_written": self._written}
