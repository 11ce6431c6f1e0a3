"""The host as a process of the cluster. Ray makes it; everything it does is in `HostParts`."""

from typing import Any

from cluster.run.host_parts import HostParts
from cluster.run.member_process import MemberProcess


class HostActor(MemberProcess):
    """One host process."""

    _parts: HostParts | None = None

    async def _start(self) -> None:
        parts = HostParts(self.plan, self.incarnation)
        await parts.start()
        self._parts = parts

    async def _drain(self, deadline_s: float) -> None:
        """A host that stops hands over by leaving: its rooms are in storage and open again wherever they belong."""

    async def _stop(self) -> None:
        if self._parts is not None:
            await self._parts.stop()

    def _statistics(self) -> dict[str, Any]:
        return {} if self._parts is None else self._parts.statistics()
