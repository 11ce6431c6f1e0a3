"""The edge as a process of the cluster. Ray makes it; everything it does is in `EdgeParts`."""

from typing import Any

from cluster.run.edge_parts import EdgeParts
from cluster.run.member_process import MemberProcess


class EdgeActor(MemberProcess):
    """One edge process."""

    _parts: EdgeParts | None = None

    async def _start(self) -> None:
        parts = EdgeParts(self.plan, self.incarnation)
        await parts.start()
        self._parts = parts

    async def _drain(self, deadline_s: float) -> None:
        if self._parts is not None:
            await self._parts.drain(deadline_s)

    async def _stop(self) -> None:
        if self._parts is not None:
            await self._parts.stop()

    def _statistics(self) -> dict[str, Any]:
        return {} if self._parts is None else self._parts.statistics()
