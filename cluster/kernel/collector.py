"""Python's cycle collector, kept from stopping a process that holds much for long.

A full collection looks at every container there is: with 50,000 rooms or 10,000 sockets in memory that is a stall of
half a second, and by default it comes whenever a quarter more has been allocated. What a host or an edge holds forms no
cycles, so reference counts free it. So young objects are collected as ever, what survives is put out of the collector's
sight every turn, and one full collection in a long while finds what cycles got there in between. One of it for one
process; whoever composes the process runs it.
"""

import asyncio
import gc
from typing import Final

from cluster.kernel.clock import Clock

TURN_S: Final = 1.0
FULL_EVERY_S: Final = 3_600.0
_NEVER: Final = 1_000_000_000


class QuietCollector:
    """`stop` gives the process back to the collector's own rules.

    `young` is how many new objects a young collection waits for, `middle` how many of those come before one that looks
    at what they left; by default as many as were set. Their product bounds what one turn has to look at.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        young: int | None = None,
        middle: int | None = None,
        full_every_s: float = FULL_EVERY_S,
    ) -> None:
        self._clock = clock
        self._full_every_s = full_every_s
        self._thresholds = gc.get_threshold()
        self._full_at = clock.monotonic() + full_every_s
        self._full_collections = 0
        usual_young, usual_middle, _ = self._thresholds
        gc.set_threshold(usual_young if young is None else young, usual_middle if middle is None else middle, _NEVER)
        gc.freeze()

    def turn(self) -> None:
        """Now and then. Costs what was made since the last one, but for the one full collection in `full_every_s`."""
        if self._clock.monotonic() >= self._full_at:
            self._full_at = self._clock.monotonic() + self._full_every_s
            self._full_collections += 1
            gc.unfreeze()
            gc.collect()
        else:
            gc.collect(1)  # rubbish that is not found before it is put out of sight stays for long
        gc.freeze()

    async def run(self) -> None:
        try:
            while True:
                await asyncio.sleep(TURN_S)
                self.turn()
        finally:
            self.stop()

    def stop(self) -> None:
        gc.set_threshold(*self._thresholds)
        gc.unfreeze()

    def statistics(self) -> dict[str, int]:
        return {"full_collections": self._full_collections}
