"""Sessions that become active, by the batch: those that come while one is being read, or soon after, form the next.

The loader hands it sessions. Storage is asked who exists and how much each has not read, and nothing is written: the
epoch is made here, in the turn of the loop in which the session becomes active, so it is of the view under which the
host owns it then. It promises that each session ends in one of `loaded` and `load_failed`, and that one which cannot be
had harms no other.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol

from actors.activation import Activation
from actors.effects import Machine
from actors.limits import HostLimits
from actors.user_session import UserSession
from cluster.kernel.attempt import attempt
from cluster.kernel.errors import INTERNAL, MOVED, UNAVAILABLE, USER_NOT_FOUND, FlowError
from cluster.kernel.tasks import TaskOwner
from storage.ports import Notifications

_log = logging.getLogger("flow.actors")

_Waiting = tuple[Activation, int]
"""A session, and how often storage was away when it was asked about it."""


class SessionOutcome(Protocol):
    def loaded(self, activation: Activation, machine: Machine) -> None: ...

    def load_failed(self, activation: Activation, error: FlowError) -> None: ...


class SessionLoads:
    """One batch is in flight at a time. `may_load` is asked right before each; `next_epoch` is given a shard and may
    raise FlowError."""

    def __init__(
        self,
        notifications: Notifications,
        limits: HostLimits,
        tasks: TaskOwner,
        may_load: Callable[[], bool],
        next_epoch: Callable[[int], int],
    ) -> None:
        self._notifications = notifications
        self._limits = limits
        self._tasks = tasks
        self._may_load = may_load
        self._next_epoch = next_epoch
        self._outcome: SessionOutcome
        # An activation waits here once, so the roster's bound is this queue's.
        self._waiting: deque[_Waiting] = deque()
        self._is_running = False
        self.batches = 0
        self.loaded = 0
        self.failed = 0

    def connect(self, outcome: SessionOutcome) -> None:
        self._outcome = outcome

    def load(self, activation: Activation) -> None:
        """Read the session and build its machine."""
        self._waiting.append((activation, 0))
        if not self._is_running:
            _ = self._tasks.start("load sessions", self._run())
            self._is_running = True

    async def _run(self) -> None:
        waiting, most, now = self._waiting, self._limits.session_batch, asyncio.get_running_loop().time
        try:
            while waiting:
                next_at = now() + self._limits.session_rest_s
                await self._load([waiting.popleft() for _ in range(min(len(waiting), most))])
                if len(waiting) < most:
                    await asyncio.sleep(max(0.0, next_at - now()))
        finally:
            self._is_running = False

    async def _load(self, batch: Sequence[_Waiting]) -> None:
        self.batches += 1
        try:
            if not self._may_load():
                raise FlowError(MOVED)
            unread = await self._notifications.unread_of([activation.key.id for activation, _ in batch])
        except FlowError as error:
            if error.kind is UNAVAILABLE:
                await self._try_again(batch, error)
            else:
                self._fail(batch, error)
        except Exception:  # noqa: BLE001 - logged with its trace; whoever waits is told
            _log.exception("%d sessions cannot be loaded", len(batch))
            self._fail(batch, FlowError(INTERNAL))
        else:
            for activation, _ in batch:
                self._become(activation, unread.get(activation.key.id))

    async def _try_again(self, batch: Sequence[_Waiting], error: FlowError) -> None:
        """Together with those who come meanwhile, before them."""
        tries = [(activation, failures + 1) for activation, failures in batch]
        most = self._limits.load_attempts
        self._fail([one for one in tries if one[1] >= most], error)
        again = [one for one in tries if one[1] < most]
        if again:
            self._waiting.extendleft(reversed(again))
            await asyncio.sleep(self._limits.load_backoff_s * 2 ** (max(failures for _, failures in again) - 1))

    def _fail(self, batch: Sequence[_Waiting], error: FlowError) -> None:
        self.failed += len(batch)
        for activation, _ in batch:
            _ = attempt("refusing a session", self._outcome.load_failed, activation, error)

    def _become(self, activation: Activation, unread: int | None) -> None:
        try:
            if unread is None:
                raise FlowError(USER_NOT_FOUND)
            epoch = self._next_epoch(activation.shard)
            machine = UserSession(activation.key.id, epoch, unread, self._limits.rooms)
        except FlowError as error:
            self._fail([(activation, 0)], error)
            return
        self.loaded += 1
        if attempt("a session that was loaded", self._outcome.loaded, activation, machine) is not None:
            self._fail([(activation, 0)], FlowError(INTERNAL))

    def statistics(self) -> dict[str, int]:
        return {"session_loads_queued": len(self._waiting), "session_load_batches": self.batches}
