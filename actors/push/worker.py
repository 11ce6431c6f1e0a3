"""The push worker: takes rows from the outbox under a lease, sends them, and settles each by what became of it.

At least once: a worker that dies leaves its lease to run out, and another sends the row again. After the last try a row
becomes a dead letter, which an operator can list and replay. One batch is under way at a time.
"""

import asyncio
import random
from dataclasses import dataclass
from typing import Final

from actors.push.port import Outcome, Push, PushResult, PushSender
from cluster.kernel.clock import Clock
from cluster.kernel.errors import FlowError
from storage.ports import Devices, Outbox
from storage.records import OutboxRow


@dataclass(frozen=True, slots=True)
class PushLimits:
    """Bounds of the push worker."""

    batch_rows: int = 50
    lease_ms: int = 60_000
    poll_interval_s: float = 1.0
    first_retry_s: float = 1.0
    longest_retry_s: float = 300.0
    most_attempts: int = 8


_GONE: Final = "the registration no longer exists"


class PushWorker:
    """Runs until cancelled. `wake` makes it look at once."""

    def __init__(
        self,
        name: str,
        outbox: Outbox,
        devices: Devices,
        sender: PushSender,
        clock: Clock,
        limits: PushLimits,
        chance: random.Random,
    ) -> None:
        self._name = name
        self._outbox = outbox
        self._devices = devices
        self._sender = sender
        self._clock = clock
        self._limits = limits
        self._chance = chance
        self._wake = asyncio.Event()
        self._counts = dict.fromkeys((*Outcome, "dead", "rounds_failed"), 0)

    def wake(self) -> None:
        self._wake.set()

    def statistics(self) -> dict[str, int]:
        return {f"push_{name}": count for name, count in self._counts.items()}

    async def run(self) -> None:
        while True:
            try:
                busy = await self.round() > 0
            except FlowError:
                # The database is away: leases run out by themselves, so there is nothing to undo.
                self._counts["rounds_failed"] += 1
                busy = False
            if not busy:
                await self._wait()

    async def _wait(self) -> None:
        self._wake.clear()
        try:
            async with asyncio.timeout(self._limits.poll_interval_s):
                await self._wake.wait()
        except TimeoutError:
            return

    async def round(self) -> int:
        """Send one batch; returns how many rows it took."""
        rows = await self._outbox.lease(
            self._name, self._clock.now_ms(), self._limits.lease_ms, self._limits.batch_rows
        )
        pushes = []
        for row in rows:
            device = await self._devices.by_id(row.device_id)
            if device is None:
                await self._outbox.bury(row.id, _GONE, self._clock.now_ms())
            else:
                pushes.append(Push(row, device))
        if pushes:
            results = await self._sender.send(pushes)
            await self._settle(pushes, results)
        return len(rows)

    async def _settle(self, pushes: list[Push], results: list[PushResult]) -> None:
        sent = []
        for push, result in zip(pushes, results, strict=True):
            self._counts[result.outcome] += 1
            match result.outcome:
                case Outcome.SENT:
                    sent.append(push.row.id)
                case Outcome.GONE:
                    await self._devices.remove(push.device.id)
                    await self._outbox.bury(push.row.id, result.error or _GONE, self._clock.now_ms())
                case Outcome.REJECTED:
                    await self._bury(push.row, result)
                case Outcome.RETRY:
                    await self._retry(push.row, result)
        if sent:
            await self._outbox.sent(sent, self._clock.now_ms())

    async def _retry(self, row: OutboxRow, result: PushResult) -> None:
        if row.attempts + 1 >= self._limits.most_attempts:
            await self._bury(row, result)
            return
        delay = min(self._limits.longest_retry_s, self._limits.first_retry_s * 2**row.attempts)
        delay = max(delay * self._chance.uniform(0.5, 1.0), result.not_before_s or 0.0)
        await self._outbox.retry(row.id, self._clock.now_ms() + round(delay * 1000), result.error)

    async def _bury(self, row: OutboxRow, result: PushResult) -> None:
        self._counts["dead"] += 1
        await self._outbox.bury(row.id, result.error, self._clock.now_ms())
