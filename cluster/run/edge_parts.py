"""What runs inside an edge process: the edge, on the public port it shares with the others of its machine.

`EdgeActor` makes one for each start. The edge serves before it is announced and leaves the view before it stops. If
`start` fails everything it brought up is down again. It holds no rule.
"""

import logging
from contextlib import AsyncExitStack
from typing import Any

from cluster.kernel.clock import SystemClock
from cluster.placement.membership import announce, withdraw
from cluster.run import edge_wiring, wiring
from cluster.run.process import ProcessPlan
from realtime.edge import Edge
from storage.open import Storage

_log = logging.getLogger("flow.edge")


class EdgeParts:
    """One start's worth of an edge process."""

    def __init__(self, plan: ProcessPlan, incarnation: str) -> None:
        self._plan = plan
        self._incarnation = incarnation
        self._clock = SystemClock()
        self._opened = AsyncExitStack()
        self._edge: Edge | None = None
        self._storage: Storage | None = None

    async def start(self) -> None:
        """Raises FlowError; whatever came up is down again then."""
        try:
            await self._start()
        except BaseException:
            await self._opened.aclose()
            raise

    async def _start(self) -> None:
        plan, opened = self._plan, self._opened
        self._storage = storage = await wiring.open_storage(plan, self._clock)
        opened.push_async_callback(storage.close)
        edge = edge_wiring.edge(plan, self._incarnation, storage, self._clock)
        opened.push_async_callback(edge.stop)
        private_host = wiring.link_host(plan)
        port = await edge.start(plan.settings.host, plan.port, reuse_port=True, private_host=private_host)
        member = wiring.member(plan, self._incarnation, (private_host, edge.private_port))
        await announce(storage.view_store, member, self._clock)
        opened.push_async_callback(
            withdraw, storage.view_store, member.name, self._clock, incarnation=member.incarnation
        )
        self._edge = edge
        _log.info("serves port %d of %s", port, plan.settings.host)

    async def drain(self, seconds: float) -> None:
        if self._edge is not None:
            await self._edge.drain(seconds)

    async def stop(self) -> None:
        """Safe to call twice."""
        await self._opened.aclose()

    def statistics(self) -> dict[str, Any]:
        """The edge's own numbers and its storage's."""
        if self._edge is None or self._storage is None:
            return {}
        return {"Edge": self._edge.statistics(), "Storage": self._storage.statistics()}
