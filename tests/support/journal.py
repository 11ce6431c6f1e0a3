"""A list that tests append to from callbacks and wait on by condition, never by time."""

import asyncio
from collections.abc import Callable
from typing import Any


class Journal:
    """What happened, in order."""

    def __init__(self) -> None:
        self.entries: list[Any] = []
        self._grown = asyncio.Event()

    def add(self, entry: Any) -> None:
        self.entries.append(entry)
        self._grown.set()

    async def until(self, holds: Callable[[list[Any]], bool], within_s: float = 10.0) -> None:
        """Wait until `holds(entries)`; fails with what was there instead."""
        try:
            async with asyncio.timeout(within_s):
                while not holds(self.entries):
                    self._grown.clear()
                    await self._grown.wait()
        except TimeoutError:
            raise AssertionError(f"it never held; there were {self.entries}") from None

    async def has(self, entry: Any, times: int = 1) -> None:
        await self.until(lambda entries: entries.count(entry) >= times)
