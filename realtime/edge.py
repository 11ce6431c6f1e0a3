"""The edge: one process that holds clients' sockets and serves HTTP, put together from its parts.

Whoever runs it (a Ray actor, a test) makes it on a running event loop, starts, drains and stops it. It promises that it
serves as soon as it has started, whatever hosts are there; that sockets stay open while hosts come and go; that
draining tells clients to come back elsewhere, spread over the time given; and that `stop` leaves nothing running. It
holds nothing that must survive.
"""

import asyncio
import logging
import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Final

import msgspec
from aiohttp import hdrs, web
from argon2 import Parameters
from argon2.profiles import RFC_9106_LOW_MEMORY

from actors.messages import MEMBERS_REMOVED, PUSH_BATCH, PUSH_MOVED
from cluster.kernel.clock import Clock
from cluster.kernel.errors import PORT_IN_USE, RECONNECT_ELSEWHERE, FlowError
from cluster.kernel.tasks import TaskOwner
from cluster.link.pool import HostLinks
from cluster.link.port import LinkLimits
from cluster.placement.membership import ViewStore
from cluster.placement.view import View
from cluster.placement.watcher import ViewWatcher
from realtime.addresses import client_address
from realtime.admission import Admission
from realtime.application import EdgeApplication
from realtime.auth import TokenService, TokenSettings
from realtime.deliveries import Deliveries
from realtime.draining import SPREAD_SHARE, Drain
from realtime.engine.limits import EngineLimits
from realtime.engine.port import Connection
from realtime.engine.server import SocketEngine
from realtime.expiry import ExpiryWatch
from realtime.forwarding import Forwarder, HopSigner, session_prefix
from realtime.http import api
from realtime.http.context import ApiContext, Readiness
from realtime.http.settings import ApiSettings
from realtime.limits import EdgeLimits
from realtime.loop_watch import LoopWatch
from realtime.metrics import EdgeMetrics
from realtime.namespaces.chat import removed_from_room
from realtime.namespaces.common import Services
from realtime.offsets import PidSigner
from realtime.passwords import PasswordService
from realtime.recovery import Recovery
from realtime.revocation import REVOKED, Revocations
from realtime.router import Router
from realtime.shedding import LoadShedding, Pressure
from realtime.sockets import Socket, Sockets
from realtime.subscriptions import Subscriptions
from serve_apps.contracts import Recommender
from storage.open import Storage

_log = logging.getLogger("flow.edge")

_EXPIRY_INTERVAL_S: Final = 1.0
_HTTP_SHUTDOWN_S: Final = 2.0
_KEEPALIVE_S: Final = 75.0
"""How long an HTTP connection may be idle; aiohttp's own is an hour."""
_BACKLOG: Final = 1_024
"""Connections that wait to be accepted. A crowd that comes back at once is larger than aiohttp's 128, and whoever finds
no place dials again only a second later."""

_LAST_WORDS_S: Final = 0.5
"""The least time that closed sockets have to read their end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EdgeSettings:
    """What an edge is told. `cluster_secret` opens links to hosts; `password_profile` is argon2's cost."""

    tokens: TokenSettings
    cluster_secret: bytes = field(repr=False)
    limits: EdgeLimits = field(default_factory=EdgeLimits)
    engine: EngineLimits = field(default_factory=EngineLimits)
    links: LinkLimits = field(default_factory=LinkLimits)
    api: ApiSettings = field(default_factory=ApiSettings)
    password_profile: Parameters = field(default_factory=lambda: RFC_9106_LOW_MEMORY)
    view_poll_interval_s: float = 1.0
    version: str = "0"
    development: bool = False


class Edge:
    """`view_store` is where the cluster's view is kept. One per event loop."""

    def __init__(
        self,
        name: str,
        incarnation: str,
        settings: EdgeSettings,
        storage: Storage,
        view_store: ViewStore,
        recommender: Recommender | None,
        clock: Clock,
    ) -> None:
        limits = settings.limits
        self.name = name
        self._settings = settings
        self._clock = clock
        self._is_draining = False
        self._tasks = TaskOwner(name, limit=3 * limits.max_sockets + limits.max_resumes_in_flight + 8)
        self._links = HostLinks(
            secret=settings.cluster_secret,
            name=name,
            incarnation=incarnation,
            listener=self,
            limits=settings.links,
            clock=clock,
        )
        self._watcher = ViewWatcher(
            view_store, self._tasks, self._view_changed, poll_interval_s=settings.view_poll_interval_s
        )
        refresh = self._watcher.refresh_soon
        self.tokens = TokenService(settings.tokens, clock)
        self.router = Router(self._links, refresh, limits, clock)
        self._admission = Admission(limits, clock)
        self._shedding = LoadShedding(limits, clock)
        self._loop_watch = LoopWatch(clock)
        self._sockets = Sockets(self._admission)
        self._expiry = ExpiryWatch(limits, self._is_live)
        self._recovery = Recovery(self._links, self._sockets, limits, self._tasks, refresh)
        self._deliveries = Deliveries(self._links, self._recovery.key_wanted)
        self._subscriptions: Subscriptions[Connection] = Subscriptions(self._deliveries, limits)
        self._serve_sockets(storage)
        self._passwords = PasswordService(settings.password_profile)
        self.metrics = EdgeMetrics(self.statistics, self._link_states)
        self._runner = web.AppRunner(
            self._web(storage, recommender),
            shutdown_timeout=_HTTP_SHUTDOWN_S,
            keepalive_timeout=_KEEPALIVE_S,
            tcp_keepalive=False,  # pings find dead sockets sooner, and the timeout above other connections
        )
        self._public: web.BaseSite | None = None
        self.private_port = 0

    def _serve_sockets(self, storage: Storage) -> None:
        services = Services(
            router=self.router,
            subscriptions=self._subscriptions,
            tokens=self.tokens,
            users=storage.users,
            limits=self._settings.limits,
            clock=self._clock,
            tasks=self._tasks,
            deliveries=self._deliveries,
            pids=PidSigner(self._settings.tokens.secret, self._settings.tokens.previous_secret),
            resuming=asyncio.Semaphore(self._settings.limits.max_rooms_resuming),
            acted=storage.user_features.acted,
        )
        self._revocations = Revocations(storage.refresh_tokens, self._sockets, self._tasks)
        self._deliveries.intercept(REVOKED, self._revocations.hear)
        self._deliveries.intercept(MEMBERS_REMOVED, partial(removed_from_room, services))
        self._application = EdgeApplication(
            services, self._admission, self._shedding, self._sockets, self._expiry, self._revocations
        )
        self._forwarder = Forwarder(
            self.name,
            lambda: self._watcher.view,
            self._watcher.look,
            HopSigner(self._settings.cluster_secret, self._clock),
        )
        engine = self._settings.engine
        self._engine = SocketEngine(
            self._application,
            replace(engine, max_sockets=min(engine.max_sockets, self._settings.limits.max_sockets)),
            self._clock,
            session_prefix=session_prefix(self.name),
            foreign_session=self._forwarder,
            door=_Door(self._shedding, self._settings.api.trusted_proxies),
        )
        self._deliveries.engine = self._engine
        self._deliveries.subscriptions = self._recovery.subscriptions = self._subscriptions

    def _web(self, storage: Storage, recommender: Recommender | None) -> web.Application:
        app = web.Application(client_max_size=self._settings.engine.max_payload_bytes)
        context = ApiContext(
            storage=storage,
            tokens=self.tokens,
            passwords=self._passwords,
            router=self.router,
            recommender=recommender,
            metrics=self.metrics,
            clock=self._clock,
            readiness=self._readiness,
            settings=self._settings.api,
            version=self._settings.version,
            development=self._settings.development,
        )
        self._http = api.mount(app, context)
        self._engine.attach(app)
        app.on_response_prepare.append(self._part_while_draining)
        return app

    async def _part_while_draining(self, request: web.Request, response: web.StreamResponse) -> None:
        """A connection that is kept alive would bring its client back to this edge again and again. One that serves a
        polling session stays, because the port takes no other in its place."""
        if self._is_draining and "sid" not in request.query:
            response.force_close()
            response.headers[hdrs.CONNECTION] = "close"

    # --- life ---------------------------------------------------------------------------------------------------------

    async def start(self, private_host: str = "127.0.0.1") -> None:
        """Come up, and serve other edges at a private port of `private_host`. Clients come with `open`.

        Raises FlowError UNAVAILABLE when the cluster's view cannot be read.
        """
        await self._watcher.start()
        self._recovery.start()
        _ = self._tasks.start("expiry", self._watch_expiry())
        _ = self._tasks.start("revocations", self._revocations.run(self.router, self._subscriptions))
        _ = self._tasks.start("load", self._watch_load())
        await self._runner.setup()
        _, self.private_port = await self._listen(private_host, 0)

    async def open(self, host: str, port: int, *, reuse_port: bool = False) -> int:
        """Let clients in at `host:port` (0: any). Returns the port. For an edge that the view has: where several edges
        share a port, the next request of a client comes to another one, which must find this one.

        Raises FlowError PORT_IN_USE.
        """
        self._public, bound = await self._listen(host, port, reuse_port=reuse_port)
        return bound

    async def _listen(self, host: str, port: int, *, reuse_port: bool = False) -> tuple[web.BaseSite, int]:
        site = self._engine.site(self._runner, host, port, backlog=_BACKLOG, reuse_port=reuse_port or None)
        before = len(self._runner.addresses)
        try:
            await site.start()
        except OSError as error:
            raise FlowError(PORT_IN_USE, f"Port {port} of {host} cannot be used: {error.strerror}.") from error
        return site, self._runner.addresses[before][1]

    def look(self) -> None:
        """The cluster's view has changed: read it now."""
        self._watcher.refresh_soon()

    async def drain(self, seconds: float) -> None:
        """Take no new socket, and send those there are elsewhere, spread over `seconds`; returns not much later.

        Each client is told at once when it will be closed (`server:draining`), and closed with RECONNECT_ELSEWHERE.
        """
        ends_at = self._clock.monotonic() + seconds
        self._is_draining = True
        self._engine.refuse_new()
        if self._public is not None:
            public, self._public = self._public, None
            await public.stop()
        drain = Drain(self._sockets, self._clock, random.Random())  # noqa: S311 - a jitter, not a secret
        async with asyncio.TaskGroup() as group:
            _ = group.create_task(drain.run(seconds))
            _ = group.create_task(self._forwarder.splices.leave(seconds * SPREAD_SHARE))
        left_s = max(_LAST_WORDS_S, ends_at - self._clock.monotonic())
        await self._engine.close(RECONNECT_ELSEWHERE, within_s=left_s)

    async def stop(self) -> None:
        """Close every socket and link, and end every task. Safe to call twice."""
        self._is_draining = True
        await self._runner.cleanup()
        await self._application.stop()
        await self.router.stop()
        await self._tasks.stop()
        await self._links.close()
        await self._forwarder.close()
        self._passwords.close()

    async def _watch_expiry(self) -> None:
        while True:
            await asyncio.sleep(_EXPIRY_INTERVAL_S)
            self._expiry.tick(self._clock.now_ms())

    async def _watch_load(self) -> None:
        interval = self._settings.limits.pressure_interval_s
        while True:
            lag = await self._loop_watch.beat(interval)
            self._shedding.observe(Pressure(self._engine.load, self._application.load, lag))

    def _is_live(self, socket: Socket) -> bool:
        return self._sockets.get(socket.id) is socket

    # --- the links ----------------------------------------------------------------------------------------------------

    def _view_changed(self, view: View) -> None:
        before = self._links.view
        self._links.apply(view)
        self._recovery.view_changed(before)
        self.router.changed()

    def host_connected(self, host: str) -> None:
        self.router.changed()
        self._recovery.link_connected(host)
        self._revocations.may_have_missed()

    def host_disconnected(self, host: str, reason: str) -> None:
        _log.log(logging.DEBUG if self._is_draining else logging.WARNING, "the link to %s is gone: %s", host, reason)
        self._watcher.refresh_soon()

    def host_pushed(self, host: str, topic: str, body: msgspec.Raw) -> None:
        if topic == PUSH_BATCH:
            self._deliveries.pushed(body)
        elif topic == PUSH_MOVED:
            self._recovery.moved(body)

    # --- looking ------------------------------------------------------------------------------------------------------

    def _link_states(self) -> dict[str, bool]:
        return {host: self._links.link_to(host).is_connected for host in self._links.hosts()}

    def _readiness(self) -> Readiness:
        states = self._link_states()
        return Readiness(sum(states.values()), len(states), self._is_draining, self._shedding.reasons)

    def statistics(self) -> dict[str, float]:
        """Every gauge and counter of this edge by name."""
        parts: tuple[Callable[[], dict[str, float]], ...] = (
            self._http.statistics,
            self._engine.statistics,
            self._admission.statistics,
            self._shedding.statistics,
            self._loop_watch.statistics,
            self._subscriptions.statistics,
            self._deliveries.statistics,
            self.router.statistics,
            self._recovery.statistics,
            self._expiry.statistics,
            self._revocations.statistics,
            self._application.statistics,
            self._passwords.statistics,
            self._forwarder.statistics,
        )
        return {name: value for part in parts for name, value in part().items()}


class _Door:
    """`engine.endpoint.Door` of the edge."""

    def __init__(self, shedding: LoadShedding, trusted_proxies: int) -> None:
        self._trusted_proxies = trusted_proxies
        self.wait_s = shedding.wait_s

    def address(self, peer: str, forwarded_for: str) -> str:
        return client_address(peer, forwarded_for, self._trusted_proxies)
