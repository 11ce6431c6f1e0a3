"""The newest view one process knows of.

Each host and edge holds one watcher. It polls the store, sooner when someone has reason to think the view is old, and
takes newer views from wherever they turn up. It promises that what it holds never goes back in version, that each
change is told once, in order, and each answer of the store after the change it brings. A store that is away makes the
view older, never absent. What counts as proof of an answer's age is when it was asked for, never when it was noticed;
only who listens for proofs pays for them, once an interval. News alone are read more cheaply.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from cluster.kernel.attempt import attempt
from cluster.kernel.clock import Clock, SystemClock
from cluster.kernel.errors import UNAVAILABLE, FlowError
from cluster.kernel.tasks import TaskOwner
from cluster.placement.membership import ViewStore
from cluster.placement.view import View

_log = logging.getLogger("flow.placement")

LOAD_TIMEOUT_S: Final = 5.0
LEAST_GAP_S: Final = 0.05
"""Between two loads, however often they are asked for."""


@dataclass(frozen=True, slots=True)
class WatcherStatistics:
    version: int
    members: int
    loads: int
    loads_failed: int
    changes: int


class ViewWatcher:
    """`on_change` is called on the loop with each newer view, `on_read` with each view that the store proved to be the
    newest and when it was asked (`Clock.monotonic`); neither may block. `tasks` owns the polling."""

    def __init__(
        self,
        store: ViewStore,
        tasks: TaskOwner,
        on_change: Callable[[View], None],
        *,
        poll_interval_s: float = 1.0,
        on_read: Callable[[View, float], None] | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._store = store
        self._tasks = tasks
        self._on_change = on_change
        self._on_read = on_read
        self._clock = clock or SystemClock()
        self._poll_interval_s = poll_interval_s
        self._view = View()
        self._poked = asyncio.Event()
        self._polled_at = float("-inf")
        self._loads = self._loads_failed = self._changes = 0

    @property
    def view(self) -> View:
        """The newest view seen; an empty one of version 0 before the first."""
        return self._view

    async def start(self, known: View | None = None, asked_at: float = 0.0) -> View:
        """Load once, then keep polling until `tasks` stops. Raises FlowError UNAVAILABLE when the store is away.

        Nothing is loaded by who comes with the view that the store is `known` to have had at `asked_at` or later.
        """
        if known is None:
            await self._load(is_poll=True)
        else:
            self._polled_at = asked_at
            self.offer(known)
        _ = self._tasks.start("watch-view", self._poll())
        return self._view

    def refresh_soon(self) -> None:
        """The view is probably old: a link broke, or someone answered MOVED. Never waits; calls coalesce."""
        self._poked.set()

    async def look(self) -> None:
        """Load now, beside the polling; returns when what was found has been told. A store that is away is no news."""
        try:
            await self._load(is_poll=False)
        except FlowError:
            self._loads_failed += 1

    def offer(self, view: View) -> bool:
        """Take a view that came from elsewhere. False when it is not newer than the one held."""
        if view.version <= self._view.version:
            return False
        self._view = view
        self._changes += 1
        _ = attempt("on_change", self._on_change, view)
        return True

    def statistics(self) -> WatcherStatistics:
        view = self._view
        return WatcherStatistics(view.version, len(view.members), self._loads, self._loads_failed, self._changes)

    async def _load(self, *, is_poll: bool) -> None:
        self._loads += 1
        asked_at = self._clock.monotonic()
        if is_poll:
            self._polled_at = asked_at
        proves = is_poll and self._on_read is not None
        try:
            async with asyncio.timeout(LOAD_TIMEOUT_S):
                view = await (self._store.load() if proves else self._store.recent())
        except TimeoutError:
            raise FlowError(UNAVAILABLE, "The cluster's view could not be read in time.") from None
        if view is None:
            return
        self.offer(view)
        if proves and self._on_read is not None:
            _ = attempt("on_read", self._on_read, view, asked_at)

    async def _poll(self) -> None:
        healthy = True
        while True:
            is_poll = await self._wait()
            try:
                await self._load(is_poll=is_poll)
                healthy = True
            except FlowError as error:
                self._loads_failed += 1
                if healthy:
                    _log.warning("the cluster's view cannot be read, version %d stays: %s", self._view.version, error)
                healthy = False

    async def _wait(self) -> bool:
        """Until the interval since the last poll is over, then True, or until somebody asks for a look before."""
        await asyncio.sleep(LEAST_GAP_S)
        left_s = self._polled_at + self._poll_interval_s - self._clock.monotonic()
        try:
            if left_s > 0:
                async with asyncio.timeout(left_s):
                    await self._poked.wait()
                return False
        except TimeoutError:
            pass
        finally:
            self._poked.clear()
        return True
