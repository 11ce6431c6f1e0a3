"""Faults that the in-memory doubles of storage can be told to have: a write that fails before or after it happened.

A double asks `before` and `after` around each durable write. Queue "before" and nothing is stored; queue "after" and
everything is stored but the caller sees UNAVAILABLE, as when the answer of the database was lost. "none" lets one pass.
"""

import asyncio
from collections import deque
from typing import Literal

from cluster.kernel.errors import UNAVAILABLE, FlowError

Fault = Literal["none", "before", "after"]


class Faults:
    """What the next writes will meet, first first. Each call also gives other tasks a turn, as real I/O would."""

    def __init__(self) -> None:
        self.next: deque[Fault] = deque()

    async def before(self) -> Fault:
        await asyncio.sleep(0)
        fault: Fault = self.next.popleft() if self.next else "none"
        if fault == "before":
            raise FlowError(UNAVAILABLE)
        return fault

    async def after(self, fault: Fault) -> None:
        await asyncio.sleep(0)
        if fault == "after":
            raise FlowError(UNAVAILABLE)
