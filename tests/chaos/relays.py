"""Relays on the links between real processes: every host is reached through one, so that its links can be cut.

No process knows of them. The address of a host in the cluster's view is replaced by its relay's, through the same store
and with the same compare-and-set that the cluster itself uses, and again after every new incarnation. The handshake on
a link proves names and incarnations, never addresses.
"""

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from cluster.kernel.clock import SystemClock
from cluster.kernel.errors import FlowError
from cluster.placement.membership import ViewStore, change
from cluster.placement.view import Member, View, joined, left, replaced
from tests.support.relay import Relay

_LOOK_S = 0.2
_READMIT_S = 60.0


@dataclass
class _Relayed:
    """`address` is where the relay listens."""

    incarnation: str
    address: str
    relay: Relay


class LinkRelays:
    """`run` keeps every host behind a relay; the faults are on hosts by name."""

    def __init__(self, store: ViewStore, say: Callable[[str], None]) -> None:
        self._store = store
        self._say = say
        self._clock = SystemClock()
        self._relayed: dict[str, _Relayed] = {}
        self._evicted: dict[str, Member] = {}
        self._own_addresses: dict[str, tuple[str, int]] = {}
        """Where each incarnation listens itself, whatever the view says of it since."""

    async def run(self) -> None:
        try:
            while True:
                with contextlib.suppress(FlowError):  # the database is away: that is one of the faults
                    await self._look()
                await asyncio.sleep(_LOOK_S)
        finally:
            for relayed in self._relayed.values():
                await relayed.relay.stop()

    async def wait_relayed(self, count: int, timeout_s: float = 20.0) -> None:
        """Until so many hosts are behind relays. Raises TimeoutError."""
        async with asyncio.timeout(timeout_s):
            while len(self._relayed) < count:  # noqa: ASYNC110 - looking is what makes it so
                await asyncio.sleep(_LOOK_S)

    async def _look(self) -> None:
        view = await self._store.load() or View()
        for name in [name for name in self._relayed if view.member(name) is None and name not in self._evicted]:
            await self._relayed.pop(name).relay.stop()
        for member in view.of_kind("host"):
            known = self._relayed.get(member.name)
            if known is None or known.incarnation != member.incarnation:
                known = await self._stand_between(member)
            if member.address != known.address:
                await self._readdress(member.name, known)

    async def _stand_between(self, member: Member) -> _Relayed:
        before = self._relayed.pop(member.name, None)
        if before is not None:
            await before.relay.stop()
        relay = Relay(self._own_addresses.setdefault(member.incarnation, member.endpoint))
        host, port = await relay.start()
        relayed = self._relayed[member.name] = _Relayed(member.incarnation, f"{host}:{port}", relay)
        return relayed

    async def _readdress(self, name: str, relayed: _Relayed) -> None:
        def edit(view: View) -> View | None:
            member = view.member(name)
            if member is None or member.incarnation != relayed.incarnation or member.address == relayed.address:
                return None
            return replaced(view, msgspec.structs.replace(member, address=relayed.address))

        await change(self._store, edit, self._clock)

    # --- faults -------------------------------------------------------------------------------------------------------

    def names(self) -> list[str]:
        return sorted(self._relayed)

    def cut(self, name: str) -> None:
        """Both ways, at once: connections are reset and refused."""
        self._relayed[name].relay.refuse()

    def mute(self, name: str, *, to_host: bool) -> None:
        """One way: bytes stop, the connection stays open."""
        self._relayed[name].relay.stall(to_target=to_host, to_client=not to_host)

    def heal(self, name: str) -> None:
        if name in self._relayed:
            self._relayed[name].relay.resume()

    async def evict(self, name: str) -> bool:
        """Take a living host out of the view, as somebody would who cannot reach it. False for the last one."""
        taken: list[Member] = []

        def edit(view: View) -> View | None:
            member = view.member(name)
            taken.clear()
            if member is None or len(view.live_hosts) < 2 or member.state != "live":
                return None
            taken.append(member)
            return left(view, name)

        await change(self._store, edit, self._clock)
        if taken:
            self._evicted[name] = taken[0]
        return bool(taken)

    async def readmit(self, name: str) -> None:
        """Put it back as it was, unless it has come back by itself or its process has ended, as one does that finds
        itself in other hands: nobody would put that back, and its rooms would be nobody's. Raises TimeoutError."""
        member = self._evicted.get(name)
        if member is None:
            return  # another fault took the same host out, and put it back

        def edit(view: View) -> View | None:
            return joined(view, member) if view.member(name) is None else None

        async with asyncio.timeout(_READMIT_S):
            while name in self._evicted:
                if not await _listens(self._own_addresses.get(member.incarnation, member.endpoint)):
                    del self._evicted[name]
                    return
                with contextlib.suppress(FlowError):  # the database may be away: another fault at the same time
                    await change(self._store, edit, self._clock)
                    del self._evicted[name]


async def _listens(address: tuple[str, int]) -> bool:
    """Whether a process is there; one that was stopped is."""
    try:
        _, writer = await asyncio.open_connection(*address)
    except OSError:
        return False
    writer.close()
    return True
