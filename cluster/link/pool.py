"""One process's links to all hosts of the cluster.

Edges and hosts hold one and feed it every newer view. It keeps one link for each host, live or draining, and answers
which link leads to a key's owner. It promises that a host's new incarnation or address is dialed at once and that a
host which left is hung up on. It never retries a request and never guesses an owner the view does not name.
"""

import logging
import random as random_module
from dataclasses import dataclass
from typing import Final, Protocol

import msgspec

from cluster.kernel.clock import Clock, SystemClock
from cluster.kernel.errors import UNAVAILABLE, FlowError
from cluster.kernel.ids import Key
from cluster.kernel.tasks import TaskOwner
from cluster.link.client import Address, LinkStatistics, ReconnectingLink
from cluster.link.port import LinkClient, LinkLimits
from cluster.placement.view import Member, View

_log = logging.getLogger("flow.link")

_MAX_CLOSING: Final = 1_024


class HostLinksListener(Protocol):
    """Who hears of all links. Called on the loop, in each stream's order, and must not block."""

    def host_connected(self, host: str) -> None: ...

    def host_disconnected(self, host: str, reason: str) -> None: ...

    def host_pushed(self, host: str, topic: str, body: msgspec.Raw) -> None: ...


@dataclass(frozen=True, slots=True)
class _HostListener:
    """Adds the host's name to what its link tells."""

    host: str
    listener: HostLinksListener

    def connected(self) -> None:
        self.listener.host_connected(self.host)

    def disconnected(self, reason: str) -> None:
        self.listener.host_disconnected(self.host, reason)

    def pushed(self, topic: str, body: msgspec.Raw) -> None:
        self.listener.host_pushed(self.host, topic, body)


@dataclass(slots=True)
class _Entry:
    member: Member
    link: ReconnectingLink


class HostLinks:
    """`name` and `incarnation` are this process's own. Use it on one event loop."""

    def __init__(
        self,
        *,
        secret: bytes,
        name: str,
        incarnation: str,
        listener: HostLinksListener,
        limits: LinkLimits | None = None,
        clock: Clock | None = None,
        random: random_module.Random | None = None,
    ) -> None:
        self._secret = secret
        self._name = name
        self._incarnation = incarnation
        self._listener = listener
        self._limits = limits or LinkLimits()
        self._clock = clock or SystemClock()
        self._random = random or random_module.Random()  # noqa: S311 - jitter, not a secret
        self._entries: dict[str, _Entry] = {}
        self._leaving: set[ReconnectingLink] = set()
        self._view = View()
        self._tasks = TaskOwner(f"links of {name}", limit=_MAX_CLOSING)
        self._closed = False

    @property
    def view(self) -> View:
        """The view the links follow."""
        return self._view

    def apply(self, view: View) -> None:
        """Follow `view`; one that is not newer changes nothing."""
        if self._closed or view.version <= self._view.version:
            return
        self._view = view
        hosts = {member.name: member for member in view.of_kind("host")}
        for name in self._entries.keys() - hosts.keys():
            entry = self._entries.pop(name)
            self._leaving.add(entry.link)
            _ = self._tasks.start(f"hang-up-{name}", self._hang_up(entry.link))
        for name, member in hosts.items():
            known = self._entries.get(name)
            if known is None:
                self._entries[name] = self._dial(member)
            else:
                self._follow(known, member)

    def host_for(self, key: Key) -> str:
        """The name of the key's owner. Raises FlowError UNAVAILABLE when no host is live."""
        member = self._view.host_for(key)
        if member is None:
            raise FlowError(UNAVAILABLE)
        return member.name

    def link_for(self, key: Key) -> LinkClient:
        """The link to the key's owner, connected or not. Raises FlowError UNAVAILABLE when no host is live."""
        member = self._view.host_for(key)
        entry = None if member is None else self._entries.get(member.name)
        if entry is None:
            raise FlowError(UNAVAILABLE)
        return entry.link

    def link_to(self, host: str) -> LinkClient:
        """The link to a host by its name. Raises FlowError UNAVAILABLE when the view has no such host."""
        entry = self._entries.get(host)
        if entry is None:
            raise FlowError(UNAVAILABLE)
        return entry.link

    def hosts(self) -> tuple[str, ...]:
        """The hosts there are links to, draining ones too."""
        return tuple(self._entries)

    def statistics(self) -> dict[str, LinkStatistics]:
        """Each link's, by the host's name."""
        return {name: entry.link.statistics() for name, entry in self._entries.items()}

    async def close(self) -> None:
        """Hang up on every host. Safe to call twice."""
        self._closed = True
        self._leaving.update(entry.link for entry in self._entries.values())
        self._entries.clear()
        for link in list(self._leaving):
            await self._hang_up(link)
        await self._tasks.stop()

    async def _hang_up(self, link: ReconnectingLink) -> None:
        await link.close()
        self._leaving.discard(link)

    def _dial(self, member: Member) -> _Entry:
        link = ReconnectingLink(
            secret=self._secret,
            name=self._name,
            incarnation=self._incarnation,
            address=lambda: self._address_of(member.name),
            listener=_HostListener(member.name, self._listener),
            expected_peer=member.name,
            limits=self._limits,
            clock=self._clock,
            random=self._random,
        )
        link.start()
        return _Entry(member, link)

    def _follow(self, entry: _Entry, member: Member) -> None:
        before, entry.member = entry.member, member
        restarted = member.incarnation not in (before.incarnation, entry.link.peer_incarnation)
        if restarted or member.address != before.address:
            entry.link.redial(f"{member.name} has moved")

    def _address_of(self, host: str) -> Address | None:
        entry = self._entries.get(host)
        if entry is None:
            return None
        try:
            return entry.member.endpoint
        except ValueError:
            _log.warning("host %s announced an address that cannot be dialed", host)
            return None
