"""A whole Flow in one process for edge tests: real hosts, real links over loopback, real edges, storage in memory."""

import asyncio
from types import SimpleNamespace
from typing import Any

import socketio
from argon2.profiles import CHEAPEST

from actors.host import Host
from actors.limits import HostLimits
from actors.ports import EventTerms, HostPorts
from cluster.kernel.clock import SystemClock
from cluster.kernel.errors import UNAVAILABLE, FlowError
from cluster.kernel.ids import new_id
from cluster.kernel.tasks import TaskOwner
from cluster.link.port import LinkLimits
from cluster.link.server import LinkServer
from cluster.placement.membership import announce, withdraw
from cluster.placement.view import Member
from cluster.placement.watcher import ViewWatcher
from realtime.auth import TokenSettings
from realtime.edge import Edge, EdgeSettings
from realtime.http.settings import ApiSettings
from realtime.limits import DEFAULT_RATES, EdgeLimits, Rate
from storage.cache import Cache
from storage.records import RoomRecord, User
from tests.support.memory_storage import MemoryStorage
from tests.support.node_client import NodeClients
from tests.support.view_store import MemoryViewStore

SECRET = b"the cluster's secret of these tests, 32 bytes or more"
CLOCK = SystemClock()
FAST_LINKS = LinkLimits(ping_interval_s=0.2, ping_timeout_s=1.0)
BUSY: dict[str, Any] = {
    "rates": DEFAULT_RATES | {name: Rate(5_000.0, 5_000) for name in ("chat:send_message", "chat:read")},
    "requests_per_socket": Rate(5_000.0, 5_000),
}
"""Clients of tests do not wait between their messages."""

CHAT, EVENTS, NOTIFICATIONS = "/chat", "/events", "/notifications"


class People:
    """Users, as far as edges and hosts ask for them."""

    def __init__(self) -> None:
        self.by: dict[str, User] = {}

    async def by_id(self, user_id: str) -> User | None:
        return self.by.get(user_id)

    async def by_ids(self, user_ids: Any) -> list[User]:
        return [self.by[user_id] for user_id in user_ids if user_id in self.by]


class Sessions:
    """Which sessions were ended, as far as edges ask for it. `is_away`: storage does not answer; without `may_answer`
    it takes its time."""

    def __init__(self) -> None:
        self.revoked: set[str] = set()
        self.is_away = False
        self.may_answer = asyncio.Event()
        self.may_answer.set()

    async def revoked_among(self, family_ids: Any) -> set[str]:
        await self.may_answer.wait()
        if self.is_away:
            raise FlowError(UNAVAILABLE)
        return self.revoked & set(family_ids)


class StoredEvents:
    """Events, as far as hosts ask for them."""

    def __init__(self) -> None:
        self.terms_of: dict[str, EventTerms] = {}

    async def terms(self, event_id: str) -> EventTerms | None:
        return self.terms_of.get(event_id)

    async def wire(self, event_id: str) -> dict[str, Any] | None:
        return {"id": event_id, "title": "An event"} if event_id in self.terms_of else None

    async def is_invited(self, event_id: str, user_id: str) -> bool:
        return False


class HostProcess:
    """One host with its link server. `kill` drops its links at once, as a dead process does."""

    def __init__(self, flow: "Flow", name: str) -> None:
        self.name = name
        self._flow = flow
        self._incarnation = new_id()
        self._tasks = TaskOwner(f"test host {name}")
        store = flow.storage
        ports = HostPorts(
            store.chat_log, store.memberships, store.rsvps, store.notifications, flow.people, flow.stored_events
        )
        self.host = Host(name, self._incarnation, ports, HostLimits(), CLOCK, self._tasks)
        self.server = LinkServer(
            secret=SECRET, name=name, incarnation=self._incarnation, service=self.host, limits=FAST_LINKS
        )

    async def start(self) -> None:
        host, port = await self.server.start("127.0.0.1")
        self.host.start()
        watcher = ViewWatcher(self._flow.views, self._tasks, self.host.apply_view, poll_interval_s=0.05)
        member = Member(self.name, "host", self._incarnation, f"{host}:{port}", "test")
        watcher.offer(await announce(self._flow.views, member, CLOCK))
        await watcher.start()

    async def kill(self) -> None:
        await self.server.stop()
        await self._tasks.stop()

    async def leave(self) -> None:
        """Stop in good order: others own its keys from here on."""
        await withdraw(self._flow.views, self.name, CLOCK)
        await self.host.stop()
        await self.kill()


class Client:
    """An official client. `heard` is every event in order; `next` waits for the next one of a name."""

    def __init__(self, url: str, user_id: str, token: str) -> None:
        self.url = url
        self.user_id = user_id
        self.token = token
        self.sio = socketio.AsyncClient(reconnection=False)
        self.heard: list[tuple[str, str, Any]] = []
        self.refusals: dict[str, Any] = {}
        self._arrived = asyncio.Condition()
        self._read: dict[str, int] = {}
        for namespace in (CHAT, EVENTS, NOTIFICATIONS):
            self.sio.on("*", self._listener(namespace), namespace=namespace)
            self.sio.on("connect_error", self._refusal(namespace), namespace=namespace)
            self.sio.on("disconnect", self._listener(namespace, "disconnect"), namespace=namespace)

    def _listener(self, namespace: str, fixed: str | None = None) -> Any:
        async def hear(*args: Any) -> None:
            name, rest = (fixed, args) if fixed else (args[0], args[1:])
            async with self._arrived:
                self.heard.append((namespace, name, rest[0] if rest else None))
                self._arrived.notify_all()

        return hear

    def _refusal(self, namespace: str) -> Any:
        async def refused(data: Any) -> None:
            self.refusals[namespace] = data

        return refused

    async def connect(self, *namespaces: str, transport: str = "websocket", **auth: Any) -> "Client":
        await self.sio.connect(
            self.url,
            namespaces=list(namespaces),
            auth={"token": self.token, **auth},
            transports=[transport],
            wait_timeout=5,
        )
        return self

    async def call(self, namespace: str, name: str, *args: Any) -> dict[str, Any]:
        data = args[0] if len(args) == 1 else (args or None)
        return await self.sio.call(name, data, namespace=namespace, timeout=10)

    async def next(self, name: str, timeout: float = 5.0) -> Any:
        """The next event of that name that was not taken yet."""
        async with self._arrived, asyncio.timeout(timeout):
            while True:
                matching = [data for _, heard, data in self.heard if heard == name]
                taken = self._read.get(name, 0)
                if len(matching) > taken:
                    self._read[name] = taken + 1
                    return matching[taken]
                await self._arrived.wait()

    def all(self, name: str) -> list[Any]:
        return [data for _, heard, data in self.heard if heard == name]

    async def close(self) -> None:
        await self.sio.disconnect()


class Flow:
    """The cluster of one test."""

    def __init__(self) -> None:
        self.storage = MemoryStorage()
        self.people = People()
        self.sessions = Sessions()
        self.stored_events = StoredEvents()
        self.views = MemoryViewStore()
        self.edges: list[Edge] = []
        self.hosts: list[HostProcess] = []
        self.clients: list[Client] = []
        self.node_clients = NodeClients()
        self.urls: dict[str, str] = {}
        self.clock = CLOCK

    async def add_host(self, name: str) -> HostProcess:
        host = HostProcess(self, name)
        self.hosts.append(host)
        await host.start()
        return host

    async def add_edge(
        self, name: str = "edge-0", *, port: int = 0, trusted_proxies: int = 0, looks_s: float = 0.05, **limits: Any
    ) -> Edge:
        settings = EdgeSettings(
            tokens=TokenSettings("x" * 32, lifetime_s=limits.pop("token_lifetime_s", 900)),
            cluster_secret=SECRET,
            limits=EdgeLimits(**(BUSY | limits)),
            links=FAST_LINKS,
            api=ApiSettings(trusted_proxies=trusted_proxies),
            password_profile=CHEAPEST,
            view_poll_interval_s=looks_s,
        )
        storage: Any = SimpleNamespace(
            users=self.people,
            cache=Cache(None, CLOCK, max_bytes=1 << 20, ttl_s=60.0, lonely_ttl_s=1.0),
            refresh_tokens=self.sessions,
            ping=self._ping,
            experiments=None,
            user_features=SimpleNamespace(acted=self._acted),
        )
        edge = Edge(name, new_id(), settings, storage, self.views, None, CLOCK)
        self.edges.append(edge)
        await edge.start()
        member = Member(name, "edge", new_id(), f"127.0.0.1:{edge.private_port}", "test")
        await announce(self.views, member, CLOCK)
        port = await edge.open("127.0.0.1", port, reuse_port=True)
        self.urls[name] = f"http://127.0.0.1:{port}"
        return edge

    async def _acted(self, user_id: str) -> None:
        """Nothing is kept of anybody here."""

    async def _ping(self) -> None:
        return

    async def person(self, **particulars: Any) -> str:
        user_id = new_id()
        user = User(id=user_id, username=f"u{user_id}", email=None, password_hash="", name="A person", **particulars)
        self.people.by[user_id] = user
        await self.storage.notifications.put_user(user_id)
        return user_id

    async def room(self, *members: str) -> str:
        room_id = new_id()
        await self.storage.chat_log.create_room(
            RoomRecord(id=room_id, kind="group", name="", created_by=members[0], created_at_ms=0)
        )
        await self.storage.memberships.add(room_id, members, 0)
        return room_id

    async def event(self, organizer: str, capacity: int | None = None) -> str:
        event_id = new_id()
        ends_at_ms = CLOCK.now_ms() + 3_600_000
        await self.storage.rsvps.put_event(event_id, organizer_id=organizer, ends_at_ms=ends_at_ms, capacity=capacity)
        self.stored_events.terms_of[event_id] = EventTerms(
            event_id=event_id,
            organizer_id=organizer,
            visibility="public",
            ends_at_ms=ends_at_ms,
            capacity=capacity,
            requirements={},
        )
        return event_id

    def token(self, user_id: str, edge: int = 0, session: str = "session-1") -> str:
        return self.edges[edge].tokens.issue(user_id, "someone", session)[0]

    def client(self, user_id: str, edge: str = "edge-0", token: str | None = None) -> Client:
        client = Client(self.urls[edge], user_id, self.token(user_id) if token is None else token)
        self.clients.append(client)
        return client

    async def stop(self) -> None:
        await self.node_clients.stop()
        for client in self.clients:
            await client.close()
        for edge in self.edges:
            await edge.stop()
        for host in self.hosts:
            await host.kill()
