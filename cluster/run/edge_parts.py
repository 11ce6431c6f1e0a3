"""What makes a process an edge: the edge, on the public port it shares with the others of its machine.

`EdgeActor` makes one for each name it takes. The edge serves other edges before it is announced and clients after it,
and leaves the view before it stops. If `start` fails everything it brought up is down again. It holds no rule.
"""

import gc
import logging
from contextlib import AsyncExitStack
from typing import Any, Final

from cluster.kernel.clock import SystemClock
from cluster.kernel.collector import QuietCollector
from cluster.kernel.tasks import TaskOwner
from cluster.placement.membership import take, withdraw
from cluster.run import edge_wiring, wiring
from cluster.run.process import ProcessPlan
from realtime.edge import Edge
from storage.open import Storage

_log = logging.getLogger("flow.edge")

_COLLECT_AT: Final = 2_000
_COLLECT_MORE_AFTER: Final = 3
"""A crowd on its way in has some thousand objects in use; the usual 700 looks at each of them again and again. The
product bounds what is looked at in one go; of 20,000 objects that took 5 ms alone, and up to 50 in a crowd."""


class EdgeParts:
    """The parts of the edge `name`. `storage` is the process's own and stays open."""

    def __init__(self, plan: ProcessPlan, name: str, incarnation: str, storage: Storage) -> None:
        self._plan = plan
        self._name = name
        self._incarnation = incarnation
        self._clock = SystemClock()
        self._opened = AsyncExitStack()
        self._edge: Edge | None = None
        self._storage = storage

    async def start(self, instead_of: str | None) -> bool:
        """Serve and take the name; False when it is not free. Raises FlowError. Nothing is left up then."""
        try:
            is_taken = await self._start(instead_of)
        except BaseException:
            await self._opened.aclose()
            raise
        if not is_taken:
            await self._opened.aclose()
        return is_taken

    async def _start(self, instead_of: str | None) -> bool:
        plan, opened, storage = self._plan, self._opened, self._storage
        edge = edge_wiring.edge(plan, self._name, self._incarnation, storage, self._clock)
        opened.push_async_callback(edge.stop)
        private_host = wiring.link_host(plan)
        await edge.start(private_host)
        member = wiring.member(plan, self._name, self._incarnation, (private_host, edge.private_port))
        if await take(storage.view_store, member, self._clock, instead_of=instead_of) is None:
            return False
        opened.push_async_callback(
            withdraw, storage.view_store, member.name, self._clock, incarnation=member.incarnation
        )
        self._edge = edge
        _ = gc.collect()  # before there is anybody to hold up
        collector = TaskOwner("edge collector", limit=1)
        opened.push_async_callback(collector.stop)
        quiet = QuietCollector(self._clock, young=_COLLECT_AT, middle=_COLLECT_MORE_AFTER)
        _ = collector.start("collector", quiet.run())
        port = await edge.open(plan.settings.host, plan.port, reuse_port=True)
        _log.info("serves port %d of %s", port, plan.settings.host)
        return True

    async def look(self) -> None:
        if self._edge is not None:
            self._edge.look()

    async def drain(self, seconds: float) -> None:
        if self._edge is not None:
            await self._edge.drain(seconds)

    async def stop(self) -> None:
        """Safe to call twice."""
        await self._opened.aclose()

    def statistics(self) -> dict[str, Any]:
        """The edge's own numbers and its storage's."""
        if self._edge is None:
            return {}
        return {"Edge": self._edge.statistics(), "Storage": self._storage.statistics()}
