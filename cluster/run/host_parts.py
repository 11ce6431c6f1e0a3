"""What runs inside a host process: rooms and sessions, the link they are reached by, the outbox and the pushes.

`HostActor` makes one for each start. `start` brings the parts up in the order in which they need each other and
announces the host last, when it can serve; `stop` goes backwards. If `start` fails everything it brought up is down
again. It holds no rule.
"""

import logging
import random
from contextlib import AsyncExitStack
from typing import Any

import msgspec

from actors.host import Host
from actors.outbox.relay import OutboxRelay
from actors.outbox.sessions import LinkedSessions
from actors.ports import HostPorts
from actors.push.worker import PushWorker
from cluster.kernel.clock import SystemClock
from cluster.kernel.tasks import TaskOwner
from cluster.link.pool import HostLinks
from cluster.placement.membership import announce, withdraw
from cluster.placement.view import Member, View
from cluster.placement.watcher import ViewWatcher
from cluster.run import wiring
from cluster.run.event_reader import StoredEvents
from cluster.run.process import ProcessPlan
from storage.open import Storage

_log = logging.getLogger("flow.host")


class _LinksOfAHost:
    """A host asks other hosts and is told nothing by them; it only has to look for a newer view when a link breaks."""

    def __init__(self) -> None:
        self.watcher: ViewWatcher | None = None

    def host_connected(self, host: str) -> None:
        """Nothing waits for it."""

    def host_disconnected(self, host: str, reason: str) -> None:
        if self.watcher is not None:
            self.watcher.refresh_soon()

    def host_pushed(self, host: str, topic: str, body: msgspec.Raw) -> None:
        """Hosts push to edges alone."""


class HostParts:
    """One start's worth of a host process."""

    def __init__(self, plan: ProcessPlan, incarnation: str) -> None:
        self._plan = plan
        self._incarnation = incarnation
        self._clock = SystemClock()
        self._opened = AsyncExitStack()
        self._links_listener = _LinksOfAHost()
        self._readers: list[Any] = []

    async def start(self) -> None:
        """Raises FlowError; whatever came up is down again then."""
        try:
            await self._start()
        except BaseException:
            await self._opened.aclose()
            raise

    async def _start(self) -> None:
        plan, clock, opened = self._plan, self._clock, self._opened
        storage = await wiring.open_storage(plan, clock)
        opened.push_async_callback(storage.close)
        tasks = TaskOwner(plan.name)
        opened.push_async_callback(tasks.stop)
        links = self._links()
        relay = self._relay(storage, links)
        host = self._make_host(storage, relay)
        server = wiring.link_server(plan, self._incarnation, host)
        address = await server.start(wiring.link_host(plan))
        opened.push_async_callback(server.stop)
        opened.push_async_callback(links.close)
        watcher = self._watcher(storage, host, links, tasks)
        member = wiring.member(plan, self._incarnation, address)
        host.start()
        opened.push_async_callback(host.stop)
        view = await announce(storage.view_store, member, clock)
        opened.push_async_callback(self._withdraw, storage, member)
        watcher.offer(view)
        await watcher.start()
        worker = self._start_outbox(storage, relay)
        self._readers = [host, server, links, watcher, storage, relay, worker]
        _log.info("serves at %s with view %d", member.address, view.version)

    def _make_host(self, storage: Storage, relay: OutboxRelay) -> Host:
        ports = HostPorts(
            storage.chat_log,
            storage.memberships,
            storage.rsvps,
            storage.notifications,
            storage.users,
            StoredEvents(storage.events),
        )
        limits = self._plan.settings.actors
        tasks = TaskOwner(f"{self._plan.name} rooms")
        return Host(self._plan.name, self._incarnation, ports, limits, self._clock, tasks, on_owed=relay.wake)

    def _links(self) -> HostLinks:
        return wiring.host_links(self._plan, self._incarnation, self._links_listener)

    def _watcher(self, storage: Storage, host: Host, links: HostLinks, tasks: TaskOwner) -> ViewWatcher:
        def follow(view: View) -> None:
            host.apply_view(view)
            links.apply(view)

        watcher = ViewWatcher(storage.view_store, tasks, follow)
        self._links_listener.watcher = watcher
        return watcher

    @property
    def _worker_name(self) -> str:
        return f"{self._plan.name}/{self._incarnation}"

    def _relay(self, storage: Storage, links: HostLinks) -> OutboxRelay:
        sessions, events = LinkedSessions(links.link_for), StoredEvents(storage.events)
        limits = self._plan.settings.outbox
        return OutboxRelay(self._worker_name, storage, sessions, events, self._clock, limits)

    def _start_outbox(self, storage: Storage, relay: OutboxRelay) -> PushWorker:
        """The relay and the push worker. Every host runs both; leases keep them from each other."""
        sender = wiring.push_sender(self._plan, self._clock)
        self._opened.push_async_callback(sender.close)
        chance = random.Random()  # noqa: S311 - jitter, not a secret
        limits = self._plan.settings.push
        worker = PushWorker(self._worker_name, storage.outbox, storage.devices, sender, self._clock, limits, chance)
        relay.on_rows = worker.wake
        tasks = TaskOwner(f"{self._plan.name} outbox")
        self._opened.push_async_callback(tasks.stop)
        _ = tasks.start("relay", relay.run())
        _ = tasks.start("push", worker.run())
        return worker

    async def _withdraw(self, storage: Storage, member: Member) -> None:
        """Leave the view before the doors close, so that edges look elsewhere instead of knocking."""
        await withdraw(storage.view_store, member.name, self._clock, incarnation=member.incarnation)

    async def stop(self) -> None:
        """Safe to call twice."""
        await self._opened.aclose()

    def statistics(self) -> dict[str, Any]:
        numbers: dict[str, Any] = {}
        for reader in self._readers:
            numbers[type(reader).__name__] = msgspec.to_builtins(reader.statistics())
        return numbers
