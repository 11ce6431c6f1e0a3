"""Reads for many askers at once: one read under way, whoever comes meanwhile goes with the next one.

Used by collections that are read for one person a request. It is group commit turned around: an idle caller waits for
nobody, a busy database gets few large reads instead of many small ones. Bounded by `most` keys a read; how many wait is
bounded by whoever calls. A read that fails fails for those who waited for it.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Generic, TypeVar

from cluster.kernel.tasks import TaskOwner

V = TypeVar("V")


class Together(Generic[V]):
    """`read` gets each key once and returns what it found by key; a key that is missing there is answered with None."""

    def __init__(
        self, name: str, read: Callable[[Sequence[str]], Awaitable[Mapping[str, V]]], *, most: int = 32
    ) -> None:
        self._read = read
        self._most = most
        self._waiting: dict[str, asyncio.Future[V | None]] = {}
        # Whoever waits for a read gets its failure; logging it here too would say it twice.
        self._tasks = TaskOwner(name, limit=1, on_failure=lambda _name, _error: None)
        self.reads = 0

    async def get(self, key: str) -> V | None:
        future = self._waiting.get(key)
        if future is None:
            future = self._waiting[key] = asyncio.get_running_loop().create_future()
            self._start()
        return await asyncio.shield(future)

    async def close(self) -> None:
        await self._tasks.stop()

    def _start(self) -> None:
        if self._waiting and len(self._tasks) == 0:
            keys = list(self._waiting)[: self._most]
            batch = {key: self._waiting.pop(key) for key in keys}
            task = self._tasks.start("read", self._carry(batch))
            task.add_done_callback(lambda _: self._ended(batch))

    async def _carry(self, batch: dict[str, "asyncio.Future[V | None]"]) -> None:
        self.reads += 1
        try:
            found = await self._read(list(batch))
        except Exception as error:
            for future in batch.values():
                if not future.done():
                    future.set_exception(error)
                    future.exception()  # nobody may be waiting any longer
            raise
        for key, future in batch.items():
            if not future.done():
                future.set_result(found.get(key))

    def _ended(self, batch: dict[str, "asyncio.Future[V | None]"]) -> None:
        for future in batch.values():
            future.cancel()
        self._start()
