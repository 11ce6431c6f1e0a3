"""Makes the model anew by itself, once a week unless the settings say otherwise.

The supervisor owns one `Retraining` and runs `watch` as one of its tasks. When the next run is due is read from the
registry, so a restart neither forgets nor repeats one. A run that fails is told in `statistics`, tried again after
`retry_hours` and never ends the watch. It trains nothing itself: `run` does, as a Ray job.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final, Protocol

from cluster.kernel.clock import Clock
from cluster.kernel.errors import FlowError
from serve_apps.registry import Manifest
from serve_apps.training.settings import RetrainingSettings

if TYPE_CHECKING:
    from serve_apps.training.job import Outcome

_log = logging.getLogger("flow.training")

_HOUR_MS: Final = 3_600_000
LONGEST_SLEEP_S: Final = 3_600.0
"""How long the watch sleeps at most before it looks at the clock again, which may have been set."""


class Versions(Protocol):
    """`ModelRegistry` is one."""

    def list(self) -> tuple[Manifest, ...]: ...


class Retraining:
    """`run` trains, publishes and perhaps promotes; it raises FlowError."""

    def __init__(
        self,
        settings: RetrainingSettings,
        registry: Versions,
        run: Callable[[], "Awaitable[Outcome]"],
        clock: Clock,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._settings = settings
        self._registry = registry
        self._run = run
        self._clock = clock
        self._sleep = sleep
        self._first_ms = clock.now_ms() + round(settings.retry_hours * _HOUR_MS)
        self._not_before_ms = 0
        self._runs = {"done": 0, "failed": 0}
        self._last: str | None = None

    async def watch(self) -> None:
        """Run until cancelled; returns at once when retraining is off."""
        while self._settings.every_hours > 0:
            wait_ms = await self.due_ms() - self._clock.now_ms()
            if wait_ms <= 0:
                await self.run_once()
            else:
                await self._sleep(min(wait_ms / 1000, LONGEST_SLEEP_S))

    async def due_ms(self) -> int:
        """When the next run is due, as wall time: `every_hours` after the newest version. Without one it is
        `retry_hours` after the start, which is busy enough as it is."""
        try:
            versions = await asyncio.to_thread(self._registry.list)
        except (FlowError, OSError) as error:
            self._put_off(f"The registry cannot be read: {error}")
            return self._not_before_ms
        newest = max((manifest.created_ms for manifest in versions), default=None)
        due = self._first_ms if newest is None else newest + round(self._settings.every_hours * _HOUR_MS)
        return max(due, self._not_before_ms)

    async def run_once(self) -> None:
        """One run; its failure is kept and told, not raised."""
        try:
            outcome = await self._run()
        except (FlowError, OSError) as error:
            self._runs["failed"] += 1
            self._put_off(error.message if isinstance(error, FlowError) else str(error))
            return
        self._runs["done"] += 1
        state = "is live" if outcome.promoted else "is kept as a candidate"
        self._last = f"{outcome.manifest.version} {state}. {outcome.reason}"
        # A registry that is slow to show the version must not make it due again.
        self._not_before_ms = self._clock.now_ms() + round(self._settings.every_hours * _HOUR_MS)
        _log.info("retraining: %s", self._last)

    def statistics(self) -> dict[str, Any]:
        return {**self._runs, "last": self._last, "notBeforeMs": self._not_before_ms}

    def _put_off(self, reason: str) -> None:
        self._last = reason
        self._not_before_ms = self._clock.now_ms() + round(self._settings.retry_hours * _HOUR_MS)
        _log.warning("retraining is put off for %g hours: %s", self._settings.retry_hours, reason)
