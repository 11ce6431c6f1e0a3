"""Chat rooms that become active, by the batch: after a takeover many are wanted at once, and one command for each would
cost the processor, which everybody else's messages need, three times as much.

The loader hands it rooms. Who comes alone is claimed alone, at once; those that come together, or while a batch is
being claimed, are the next batch. It promises that each room ends in `claimed` or goes to `claim_alone`: one that is
made on first use, that others claim or write to at that moment, or whose batch failed.
"""

import logging
from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol

from actors.activation import Activation
from actors.limits import HostLimits
from actors.ports import HostPorts
from cluster.kernel.errors import MOVED, FlowError
from cluster.kernel.ids import parse_room
from cluster.kernel.tasks import TaskOwner
from storage.records import RoomHead

_log = logging.getLogger("flow.actors")


class Loading(Protocol):
    """The loader, as this part of it sees it."""

    @property
    def has_time(self) -> bool:
        """Whether `claim_alone` would begin at once."""

    def claim_alone(self, activation: Activation) -> None: ...

    def claimed(self, activation: Activation, head: RoomHead) -> None:
        """Must not raise."""


class RoomClaims:
    """One batch is in flight at a time. `may_claim` is asked right before each."""

    def __init__(
        self, ports: HostPorts, limits: HostLimits, tasks: TaskOwner, may_claim: Callable[[], bool], loading: Loading
    ) -> None:
        self._ports = ports
        self._limits = limits
        self._tasks = tasks
        self._may_claim = may_claim
        self._loading = loading
        # An activation waits here once, so the roster's bound is this queue's.
        self._waiting: deque[Activation] = deque()
        self._is_running = False
        self.batches = 0

    def load(self, activation: Activation) -> None:
        """Claim the room and build its machine."""
        self._waiting.append(activation)
        if not self._is_running:
            _ = self._tasks.start("claim rooms", self._run())
            self._is_running = True

    async def _run(self) -> None:
        waiting, most = self._waiting, self._limits.claim_batch
        try:
            while waiting:
                if len(waiting) == 1 and self._loading.has_time:
                    self._loading.claim_alone(waiting.popleft())
                else:
                    await self._claim([waiting.popleft() for _ in range(min(len(waiting), most))])
        finally:
            self._is_running = False

    async def _claim(self, batch: Sequence[Activation]) -> None:
        self.batches += 1
        try:
            heads = await self._heads(batch)
        except FlowError:
            heads = {}
        except Exception:  # noqa: BLE001 - logged with its trace; each is claimed alone, and tells whoever waits
            _log.exception("%d rooms cannot be claimed together", len(batch))
            heads = {}
        for activation in batch:
            head = heads.get(activation.key.id)
            if head is None:
                self._loading.claim_alone(activation)
            else:
                self._loading.claimed(activation, head)

    async def _heads(self, batch: Sequence[Activation]) -> dict[str, RoomHead]:
        """Of those that can be had together. Raises FlowError."""
        if not self._may_claim():
            raise FlowError(MOVED)
        rooms = [parse_room(activation.key.id) for activation in batch]
        event_ids = [room.event_id for room in rooms if room.event_id is not None]
        existing = await self._ports.events.existing(event_ids) if event_ids else frozenset()
        wanted = [room.id for room in rooms if room.event_id is None or room.event_id in existing]
        return await self._ports.chat_log.claim_many(wanted, self._limits.rooms.load_window_messages)

    def statistics(self) -> dict[str, int]:
        return {"claims_gathering": len(self._waiting), "claim_batches": self.batches}
