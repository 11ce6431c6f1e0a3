"""Changing the fleet while it runs: more hosts and edges, fewer, or one of them away. One change at a time.

The supervisor makes one; the control socket calls it. What is added serves before the next is added. What is drained
first gains nothing more, then hands over what it has, then leaves the view, then ends; a drain is bounded in time and
what is drained does not come back. A holder that dies while it drains has nothing left to hand over: its rooms are in
storage, and its name is taken out.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from cluster.kernel.errors import CHANGE_UNDER_WAY, INVALID_REQUEST, FlowError
from cluster.placement.membership import start_draining, withdraw
from cluster.run.control import Tell
from cluster.run.fleet import Fleet
from cluster.run.fleet_plan import KINDS, check_counts, check_drain, to_scale
from cluster.run.settings import SupervisionSettings

_log = logging.getLogger("flow.supervisor")


class Scaling:
    """`scale` and `drain` return {"hosts", "edges", "added", "drained"}: how many there are, and what changed."""

    def __init__(self, fleet: Fleet, settings: SupervisionSettings) -> None:
        self._fleet = fleet
        self._settings = settings
        self._under_way = ""

    async def scale(self, hosts: int | None, edges: int | None, tell: Tell) -> dict[str, Any]:
        """Raises FlowError: INVALID_REQUEST, CHANGE_UNDER_WAY, START_FAILED when one did not come up, or UNAVAILABLE.
        What was changed before a failure stays changed."""
        check_counts(hosts, edges)
        wanted = {"host": hosts, "edge": edges}
        with self._one_at_a_time(f"flow scale {_words(hosts=hosts, edges=edges)}"):
            added: list[str] = []
            drained: list[str] = []
            for kind in KINDS:
                count = wanted[kind]
                if count is None:
                    continue
                more, less = to_scale(self._fleet.names(kind), kind, count)
                for name in more:
                    tell(f"{name} is joining")
                    await self._fleet.add(name, kind)
                    added.append(name)
                for name in less:
                    await self._drain(name, tell)
                    drained.append(name)
            return self._outcome(added, drained)

    async def drain(self, name: str, tell: Tell) -> dict[str, Any]:
        """Raises FlowError: UNKNOWN_MEMBER, CHANGE_REFUSED for the last of its kind, CHANGE_UNDER_WAY, UNAVAILABLE."""
        check_drain(self._fleet.names(), name)
        with self._one_at_a_time(f"flow drain {name}"):
            await self._drain(name, tell)
            return self._outcome([], [name])

    @contextmanager
    def _one_at_a_time(self, what: str) -> Iterator[None]:
        if self._under_way:
            raise FlowError(CHANGE_UNDER_WAY, f"`{self._under_way}` is under way. Wait until it is done.")
        self._under_way = what
        _log.info("%s", what)
        try:
            yield
        finally:
            self._under_way = ""

    async def _drain(self, name: str, tell: Tell) -> None:
        fleet = self._fleet
        member = fleet.members[name]
        member.is_leaving = True
        tell(f"{name} is draining")
        await fleet.let_settle(member)
        try:
            await start_draining(fleet.store, name, fleet.clock)
        except FlowError:
            member.is_leaving = False
            raise
        await fleet.tell_of_view()
        holder = member.holder
        if holder is not None and member.is_held:
            limit_s = self._settings.edge_drain_s if member.kind == "edge" else self._settings.host_handover_s
            try:
                await holder.drain(limit_s)
            except FlowError as error:
                _log.warning("%s did not drain: %s", name, error.message)
            await holder.stop()
        await fleet.remove(member)
        await withdraw(fleet.store, name, fleet.clock)
        await fleet.tell_of_view()

    def _outcome(self, added: list[str], drained: list[str]) -> dict[str, Any]:
        counts = {f"{kind}s": len(self._fleet.names(kind)) for kind in KINDS}
        return {**counts, "added": added, "drained": drained}


def _words(**counts: int | None) -> str:
    return " ".join(f"{name}={count}" for name, count in counts.items() if count is not None)


def count_of(request: dict[str, Any], name: str) -> int | None:
    """A number of a control request, None when it is not given. Raises FlowError INVALID_REQUEST."""
    value = request.get(name)
    if value is not None and (not isinstance(value, int) or isinstance(value, bool)):
        raise FlowError(INVALID_REQUEST, f"{name} must be a number.", fields=(name,))
    return value
