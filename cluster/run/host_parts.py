"""What makes a process a host: rooms and sessions, the link they are reached by, the outbox and the pushes.

`HostActor` makes one for each name it takes. `start` brings the parts up in the order in which they need each other and
takes the name last, when the host can serve; `stop` goes backwards. If `start` fails everything it brought up is down
again. It holds no rule.
"""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import msgspec

from actors.host import Host
from actors.outbox.journal import Journal
from actors.outbox.relay import OutboxRelay
from actors.outbox.sessions import LinkedSessions
from actors.ports import HostPorts
from actors.push.worker import PushWorker
from actors.session_epochs import SessionEpochs
from cluster.kernel.clock import SystemClock
from cluster.kernel.collector import QuietCollector
from cluster.kernel.errors import FlowError
from cluster.kernel.tasks import TaskOwner
from cluster.link.pool import HostLinks
from cluster.placement.membership import take, withdraw
from cluster.placement.view import Member, View
from cluster.placement.watcher import ViewWatcher
from cluster.run import wiring
from cluster.run.event_reader import StoredEvents
from cluster.run.process import ProcessPlan
from storage.open import Storage

_log = logging.getLogger("flow.host")

_LOOK_S = 0.02
_ROOMS_FIRST_S = 0.5
"""What is owed to people who are away can wait for a moment in which a room's people wait for its new host."""
_LINGER_S = 1.0
"""A host that holds nothing more still says so for a while, to edges that have not seen the view yet."""


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
    """The parts of the host `name`. `storage` and `epochs` are the process's own and outlive them. `on_fenced` is
    called when another process has the name."""

    def __init__(
        self,
        plan: ProcessPlan,
        name: str,
        incarnation: str,
        storage: Storage,
        on_fenced: Callable[[], None],
        epochs: SessionEpochs,
    ) -> None:
        self._plan = plan
        self._name = name
        self._storage = storage
        self._on_fenced = on_fenced
        self._epochs = epochs
        self._is_leaving = False
        self._host: Host | None = None
        self._watcher: ViewWatcher | None = None
        self._incarnation = incarnation
        self._clock = SystemClock()
        self._opened = AsyncExitStack()
        self._links_listener = _LinksOfAHost()
        self._readers: list[Any] = []

    async def start(self, instead_of: str | None) -> bool:
        """Come up and take the name; False when it is not free. Raises FlowError. Nothing is left up then."""
        try:
            is_taken = await self._start(instead_of)
        except BaseException:
            await self._opened.aclose()
            raise
        if not is_taken:
            await self._opened.aclose()
        return is_taken

    async def _start(self, instead_of: str | None) -> bool:
        plan, clock, opened, storage = self._plan, self._clock, self._opened, self._storage
        tasks = TaskOwner(self._name)
        opened.push_async_callback(tasks.stop)
        links = self._links()
        outbox = plan.settings.outbox
        journal = Journal(self._incarnation, limit=outbox.handover, limit_bytes=outbox.handover_bytes)
        relay = self._relay(storage, journal, links)
        host = self._make_host(storage, journal, relay)
        server = wiring.link_server(plan, self._name, self._incarnation, host)
        address = await server.start(wiring.link_host(plan))
        opened.push_async_callback(server.stop)
        opened.push_async_callback(links.close)
        watcher = self._make_watcher(storage, host, links, tasks)
        member = wiring.member(plan, self._name, self._incarnation, address)
        await relay.renew()
        opened.push_async_callback(self._leave_journal, relay)
        host.start()
        opened.push_async_callback(host.stop)
        asked_at = clock.monotonic()
        view = await take(storage.view_store, member, clock, instead_of=instead_of)
        if view is None:
            return False
        opened.push_async_callback(self._withdraw, storage, member)
        host.view_was_read(view, asked_at, plan.settings.supervision.view_lease_s)
        await watcher.start(view, asked_at)
        worker = self._start_outbox(storage, relay)
        self._host, self._watcher = host, watcher
        collector = QuietCollector(clock)
        _ = tasks.start("collector", collector.run())
        self._readers = [host, server, links, watcher, storage, relay, worker, collector]
        _log.info("serves at %s with view %d", member.address, view.version)
        return True

    async def _leave_journal(self, relay: OutboxRelay) -> None:
        try:
            await relay.leave()
        except FlowError as error:
            _log.warning("%s leaves what it owes to be found when its hold runs out: %s", self._name, error.kind.code)

    def _make_host(self, storage: Storage, journal: Journal, relay: OutboxRelay) -> Host:
        ports = HostPorts(
            storage.chat_log,
            storage.memberships,
            storage.rsvps,
            storage.notifications,
            storage.users,
            StoredEvents(storage.events),
        )
        limits = self._plan.settings.actors
        tasks = TaskOwner(f"{self._name} rooms")
        return Host(
            self._name,
            self._incarnation,
            ports,
            limits,
            self._clock,
            tasks,
            on_owed=lambda _: relay.wake(),
            journal=journal,
            on_fenced=self._fenced,
            epochs=self._epochs,
        )

    def _fenced(self) -> None:
        if not self._is_leaving:
            self._on_fenced()

    def _links(self) -> HostLinks:
        return wiring.host_links(self._plan, self._name, self._incarnation, self._links_listener)

    def _make_watcher(self, storage: Storage, host: Host, links: HostLinks, tasks: TaskOwner) -> ViewWatcher:
        def follow(view: View) -> None:
            host.apply_view(view)
            links.apply(view)

        supervision = self._plan.settings.supervision
        watcher = ViewWatcher(
            storage.view_store,
            tasks,
            follow,
            poll_interval_s=supervision.view_poll_interval_s,
            on_read=lambda view, asked_at: host.view_was_read(view, asked_at, supervision.view_lease_s),
            clock=self._clock,
        )
        self._links_listener.watcher = watcher
        return watcher

    @property
    def _worker_name(self) -> str:
        return f"{self._name}/{self._incarnation}"

    def _relay(self, storage: Storage, journal: Journal, links: HostLinks) -> OutboxRelay:
        sessions, events = LinkedSessions(links.link_for), StoredEvents(storage.events)
        limits = self._plan.settings.outbox
        return OutboxRelay(self._worker_name, journal, storage, sessions, events, self._clock, limits)

    def _start_outbox(self, storage: Storage, relay: OutboxRelay) -> PushWorker:
        """The relay and the push worker. Every host runs both; leases keep them from each other."""
        sender = wiring.push_sender(self._plan, self._clock)
        self._opened.push_async_callback(sender.close)
        chance = random.Random()  # noqa: S311 - jitter, not a secret
        limits = self._plan.settings.push
        worker = PushWorker(self._worker_name, storage.outbox, storage.devices, sender, self._clock, limits, chance)
        relay.call_on_rows(worker.wake)
        tasks = TaskOwner(f"{self._name} outbox")
        self._opened.push_async_callback(tasks.stop)
        _ = tasks.start("relay", self._rooms_first(relay.run))
        _ = tasks.start("journal", relay.keep())
        _ = tasks.start("push", self._rooms_first(worker.run))
        return worker

    @staticmethod
    async def _rooms_first(run: Callable[[], Awaitable[None]]) -> None:
        await asyncio.sleep(_ROOMS_FIRST_S)
        await run()

    async def _withdraw(self, storage: Storage, member: Member) -> None:
        """Leave the view before the doors close, so that edges look elsewhere instead of knocking."""
        self._is_leaving = True
        await withdraw(storage.view_store, member.name, self._clock, incarnation=member.incarnation)

    async def look(self) -> None:
        if self._watcher is not None:
            await self._watcher.look()

    async def drain(self, seconds: float) -> None:
        """Once the view gives this host nothing: wait until every key has finished and left, at most `seconds`."""
        assert self._host is not None
        await self.look()
        try:
            async with asyncio.timeout(seconds):
                await self._empty(self._host)
                await asyncio.sleep(_LINGER_S)
        except TimeoutError:
            if not self._host.is_empty():
                _log.warning("%s still holds keys after %g s and leaves all the same", self._name, seconds)

    async def _empty(self, host: Host) -> None:
        while True:
            if host.is_empty() and not host.owns_shards():
                return
            await asyncio.sleep(_LOOK_S)

    async def stop(self) -> None:
        """Safe to call twice."""
        await self._opened.aclose()

    def statistics(self) -> dict[str, Any]:
        numbers: dict[str, Any] = {}
        for reader in self._readers:
            numbers[type(reader).__name__] = msgspec.to_builtins(reader.statistics())
        return numbers
