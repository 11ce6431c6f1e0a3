"""Keeps an engine fresh: follows the registry's live pointer and the catalogue, and survives either being wrong.

Owned by a replica. Three loops, started by `start`, run until `stop`: one looks at the pointer and loads what it names
in a thread of its own, one follows the catalogue, one what people do. The catalogue is read whole at first and now and
then, which finds what was deleted, and meanwhile and in between only what changed. A version that cannot be loaded is
refused, told in `statistics` and not tried again for a while; what answered before goes on answering. When nothing
answers yet, the version before the live one is tried instead. A loop that ends is a bug: `failure` tells it, and the
replica reports itself sick.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from cluster.kernel.clock import Clock
from cluster.kernel.errors import FlowError
from cluster.kernel.tasks import TaskOwner
from serve_apps.contracts import Catalogue, CatalogueChanges, LiveEvents
from serve_apps.engine import LoadedModel, RecommendationEngine
from serve_apps.pipeline.rankers import DeepRanker
from serve_apps.registry import ModelRegistry, Pointer

_log = logging.getLogger("flow.recommender")

WHOLE_SECONDS: Final = 600.0
"""How often the whole catalogue is read, where changes can be told in between."""
REFUSED_SECONDS: Final = 30.0
"""How long a refused version is left alone while the pointer still names it."""
_REFRESH_SHARE: Final = 10
"""Reading and embedding the whole catalogue, and reading the signals, may take at most one part each in this many of
the time. What changed is looked at in between whatever that cost: a new event does not wait for it."""

T = TypeVar("T")


@dataclass(slots=True)
class Periods:
    """Seconds between two looks."""

    pointer: float = 1.0
    catalogue: float = 1.0
    signals: float = 10.0


class ModelWatch:
    """`load` turns a version of the registry into a model; it blocks and raises FlowError for one it cannot serve."""

    def __init__(
        self,
        engine: RecommendationEngine,
        registry: ModelRegistry,
        load: Callable[[str], tuple[LoadedModel, DeepRanker | None]],
        open_catalogue: Callable[[], Awaitable[Catalogue]],
        clock: Clock,
        periods: Periods,
    ) -> None:
        self._engine = engine
        self._registry = registry
        self._load = load
        self._open_catalogue = open_catalogue
        self._clock = clock
        self.periods = periods
        self._tasks = TaskOwner("recommender", limit=3, on_failure=self._failed)
        # One thread, because the engine's snapshots are built one at a time.
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="flow-model")
        self._refused: dict[str, tuple[float, str]] = {}
        self._catalogue: Catalogue | None = None
        self._catalogue_problem: str | None = None
        self._opening = asyncio.Lock()
        self._cursor_ms: int | None = None
        self._read_whole_at = 0.0
        self._rest_until = 0.0
        self.failure: BaseException | None = None

    def start(self) -> None:
        _ = self._tasks.start("pointer", self._follow_pointer())
        _ = self._tasks.start("catalogue", self._follow_catalogue())
        _ = self._tasks.start("signals", self._follow_signals())

    async def stop(self) -> None:
        await self._tasks.stop()
        self._thread.shutdown(wait=False, cancel_futures=True)
        if self._catalogue is not None:
            await self._catalogue.close()

    def statistics(self) -> dict[str, Any]:
        return {
            "refused": {version: reason for version, (_, reason) in self._refused.items()},
            "catalogueProblem": self._catalogue_problem,
        }

    async def look_at_pointer(self) -> None:
        """Load what the pointer names, unless it answers already."""
        try:
            pointer = await self._in_thread(self._registry.live)
        except (FlowError, OSError) as error:
            self._refuse("live pointer", str(error))
            return
        self._refused.pop("live pointer", None)
        for version in self._wanted(pointer):
            if await self._try(version):
                break
        self._forget_others(pointer)

    async def look_at_catalogue(self) -> float:
        """Take over what is new among the live events; returns the seconds of work that it took."""
        try:
            catalogue = await self._opened()
            changes = await self._changes(catalogue)
            worked = await (self._take_over_everything(catalogue) if changes is None else self._take_over(changes))
        except FlowError as error:
            if self._catalogue_problem is None:
                _log.warning("the catalogue cannot be read; the last one stays: %s", error.message)
            self._catalogue_problem = error.message
            return 0.0
        self._catalogue_problem = None
        return worked

    async def look_at_signals(self) -> float:
        """Take over what people did; returns the seconds of work that it took."""
        started = self._clock.monotonic()
        try:
            signals = await (await self._opened()).signals(self._clock.now_ms())
        except FlowError:
            return 0.0  # told by the other loop
        await self._in_thread(lambda: self._engine.use_signals(signals))
        return self._clock.monotonic() - started

    async def _opened(self) -> Catalogue:
        async with self._opening:
            if self._catalogue is None:
                self._catalogue = await self._open_catalogue()
            return self._catalogue

    async def _changes(self, catalogue: Catalogue) -> CatalogueChanges | None:
        """None when everything is to be read: at first, now and then, and where changes cannot be told."""
        now = self._clock.monotonic()
        changes = None
        if self._cursor_ms is not None and now < max(self._read_whole_at, self._rest_until):
            changes = await catalogue.changes(self._cursor_ms)
            if changes is None and now < self._rest_until:
                return CatalogueChanges(events=(), cursor_ms=self._cursor_ms)
        return changes

    async def _take_over(self, changes: CatalogueChanges) -> float:
        worked = await self._in_thread(lambda: self._timed(lambda: self._engine.use_changes(changes.events)))
        self._cursor_ms = changes.cursor_ms
        return worked

    async def _take_over_everything(self, catalogue: Catalogue) -> float:
        """What was published since the reading began is put back at once: the reading may have passed its place."""
        started, began_ms = self._clock.monotonic(), self._clock.now_ms()
        found = await self._read_everything(catalogue, began_ms)
        since = await catalogue.changes(began_ms)
        read = self._clock.monotonic() - started

        def use() -> None:
            self._engine.use_events(found.events, found.left_out)
            self._engine.use_changes(() if since is None else since.events)

        # Without the time in between: the thread may be loading a model, which is no cost of the catalogue's.
        worked = read + await self._in_thread(lambda: self._timed(use))
        self._cursor_ms, self._read_whole_at = began_ms, started + WHOLE_SECONDS
        self._rest_until = self._clock.monotonic() + worked * (_REFRESH_SHARE - 1)
        return worked

    async def _read_everything(self, catalogue: Catalogue, now_ms: int) -> LiveEvents:
        """Every live event, as far as the engine holds so many; what changes meanwhile is taken over as ever."""
        reading = asyncio.ensure_future(catalogue.live_events(now_ms, self._engine.catalogue_limit))
        try:
            while not (await asyncio.wait((reading,), timeout=self.periods.catalogue))[0]:
                changes = None if self._cursor_ms is None else await catalogue.changes(self._cursor_ms)
                if changes is not None:
                    await self._take_over(changes)
            return reading.result()
        finally:
            reading.cancel()
            _ = await asyncio.gather(reading, return_exceptions=True)

    def _timed(self, work: Callable[[], None]) -> float:
        started = self._clock.monotonic()
        work()
        return self._clock.monotonic() - started

    def _wanted(self, pointer: Pointer | None) -> list[str]:
        """The live version unless it answers or was refused lately; the one before it while nothing is loaded."""
        if pointer is None:
            return []
        loaded = self._engine.loaded_version
        wanted = [pointer.version]
        if loaded is None and pointer.previous is not None:
            wanted.append(pointer.previous)
        now = self._clock.monotonic()
        return [version for version in wanted if version != loaded and now >= self._refused.get(version, (0.0, ""))[0]]

    async def _try(self, version: str) -> bool:
        try:
            await self._in_thread(lambda: self._engine.use_model(*self._load(version)))
        except (FlowError, OSError) as error:
            self._refuse(version, str(error))
            return False
        self._refused.pop(version, None)
        _log.info("model version %s is live", version)
        return True

    def _refuse(self, what: str, reason: str) -> None:
        if what not in self._refused:
            _log.error("%s is refused, what answered before goes on: %s", what, reason)
        self._refused[what] = (self._clock.monotonic() + REFUSED_SECONDS, reason)

    def _forget_others(self, pointer: Pointer | None) -> None:
        named = {pointer.version, pointer.previous} if pointer else set()
        for version in self._refused.keys() - named:
            del self._refused[version]

    async def _follow_pointer(self) -> None:
        while True:
            await self.look_at_pointer()
            await asyncio.sleep(self.periods.pointer)

    async def _follow_catalogue(self) -> None:
        while True:
            await self.look_at_catalogue()
            await asyncio.sleep(self.periods.catalogue)

    async def _follow_signals(self) -> None:
        while True:
            worked = await self.look_at_signals()
            await asyncio.sleep(max(self.periods.signals, worked * (_REFRESH_SHARE - 1)))

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    def _failed(self, name: str, error: BaseException) -> None:
        _log.error("%s ended", name, exc_info=error)
        self.failure = error
