"""A `ViewStore` in memory, held to the same contract suite as the real one."""

import asyncio

from cluster.kernel.errors import UNAVAILABLE, FlowError
from cluster.placement.view import View


class MemoryViewStore:
    """One cluster's view. Share one instance among the processes that a test pretends to have.

    `away = True` makes all operations fail with UNAVAILABLE; `forget_answers = n` makes the next n writes take effect
    and fail all the same, as a lost connection does.
    """

    def __init__(self) -> None:
        self._view: View | None = None
        self.away = False
        self.forget_answers = 0
        self.loads = 0
        self.looks = 0

    async def load(self) -> View | None:
        await asyncio.sleep(0)
        self.loads += 1
        if self.away:
            raise FlowError(UNAVAILABLE)
        return self._view

    async def recent(self) -> View | None:
        await asyncio.sleep(0)
        self.looks += 1
        if self.away:
            raise FlowError(UNAVAILABLE)
        return self._view

    async def compare_and_set(self, expected_version: int, view: View) -> bool:
        if view.version != expected_version + 1:
            raise ValueError("a view follows the one it was made from")
        await asyncio.sleep(0)
        if self.away:
            raise FlowError(UNAVAILABLE)
        if (self._view.version if self._view is not None else 0) != expected_version:
            return False
        self._view = view
        if self.forget_answers > 0:
            self.forget_answers -= 1
            raise FlowError(UNAVAILABLE)
        return True
