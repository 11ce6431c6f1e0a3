"""Hosts over in-memory storage and local links, for tests of a host: edges that ask and remember what they are told."""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import msgspec

from actors.host import Host
from actors.limits import HostLimits
from actors.messages import (
    COMMANDS,
    METHOD_COMMAND,
    METHOD_ONLINE,
    METHOD_RESUME,
    NOTE_UNWATCH,
    PUSH_BATCH,
    PUSH_MOVED,
    Attachment,
    Batch,
    Command,
    Delivery,
    JoinedRoom,
    JoinRoom,
    Moved,
    Online,
    OnlineReply,
    Position,
    Resume,
    Resumed,
    ResumeReply,
    SendMessage,
    SentMessage,
    Unwatch,
)
from actors.ports import EventTerms, HostPorts
from cluster.kernel.clock import ManualClock
from cluster.kernel.ids import new_id
from cluster.kernel.tasks import TaskOwner
from cluster.kernel.wire import decode, encode
from cluster.placement.view import Member, View
from storage.records import User
from tests.support.local_link import LocalLink
from tests.support.memory_storage import MemoryStorage

T = TypeVar("T")

ALICE, BOB, CAROL, DAVE = ("a" * 24, "b" * 24, "c" * 24, "d" * 24)
DIRECT = f"chat/dm:{ALICE}:{BOB}"
TIMEOUT_S = 20.0


class EventBook:
    """An `EventReader`, with the events that the ledger knows too."""

    def __init__(self, storage: MemoryStorage) -> None:
        self._storage = storage
        self._terms: dict[str, EventTerms] = {}
        self.invited: set[tuple[str, str]] = set()

    async def put(
        self, event_id: str, *, organizer_id: str = "f" * 24, visibility: str = "public", **terms: Any
    ) -> None:
        await self._storage.rsvps.put_event(event_id, organizer_id=organizer_id, visibility=visibility, **terms)
        self._terms[event_id] = EventTerms(
            event_id=event_id,
            organizer_id=organizer_id,
            visibility=visibility,
            ends_at_ms=terms.get("ends_at_ms", 0),
            capacity=terms.get("capacity"),
            requirements=terms.get("requirements") or {},
        )

    async def delete(self, event_id: str) -> None:
        await self._storage.rsvps.remove_event(event_id)
        del self._terms[event_id]

    async def terms(self, event_id: str) -> EventTerms | None:
        await asyncio.sleep(0)
        return self._terms.get(event_id)

    async def existing(self, event_ids: Sequence[str]) -> frozenset[str]:
        await asyncio.sleep(0)
        return frozenset(event_ids) & self._terms.keys()

    async def wire(self, event_id: str) -> dict[str, Any] | None:
        await asyncio.sleep(0)
        return {"id": event_id} if event_id in self._terms else None

    async def is_invited(self, event_id: str, user_id: str) -> bool:
        await asyncio.sleep(0)
        return (event_id, user_id) in self.invited


class People:
    """The part of `Users` that hosts read."""

    def __init__(self) -> None:
        self.by_user_id: dict[str, User] = {}

    async def by_id(self, user_id: str) -> User | None:
        await asyncio.sleep(0)
        return self.by_user_id.get(user_id)


class World:
    """Storage that outlives hosts, the hosts, and their edges. `close` it."""

    def __init__(self) -> None:
        self.storage = MemoryStorage()
        self.events = EventBook(self.storage)
        self.people = People()
        self.clock = ManualClock()
        self.hosts: list[Host] = []
        self.version = 0
        self.owed = 0

    def ports(self) -> HostPorts:
        return HostPorts(
            chat_log=self.storage.chat_log,
            memberships=self.storage.memberships,
            rsvps=self.storage.rsvps,
            notifications=self.storage.notifications,
            users=self.people,  # type: ignore[arg-type]
            events=self.events,
        )

    def host(
        self, name: str = "host-0", *, owning: bool = True, limits: HostLimits | None = None, **ports: Any
    ) -> Host:
        """A running host; with `owning` it believes that everything is its own."""
        host = Host(
            name,
            f"{name}-a",
            replace(self.ports(), **ports),
            limits or HostLimits(),
            self.clock,
            TaskOwner(name),
            self._count_owed,
        )
        host.start()
        self.hosts.append(host)
        if owning:
            self.give_all_to(host)
        return host

    def _count_owed(self, rows: Sequence[Any]) -> None:
        self.owed += len(rows)

    def give_all_to(self, host: Host, *listeners: Host) -> View:
        """A newer view in which this host is the only one; `listeners` hear of it too."""
        self.version += 1
        view = View(self.version, (Member(host.name, "host", f"{host.name}-a", "h:1", "node"),))
        for listener in (host, *listeners):
            listener.apply_view(view)
        return view

    async def close(self) -> None:
        for host in self.hosts:
            await host.stop()


class Edge:
    """An edge with one link to one host. `told` keeps deliveries by key, `moved` the keys it must ask for again."""

    def __init__(self, host: Host, clock: ManualClock, name: str = "edge-0") -> None:
        self.name = name
        self.told: dict[str, list[Delivery]] = defaultdict(list)
        self.moved: list[str] = []
        self.link = LocalLink(host, self, name=name, incarnation=f"{name}-a", clock=clock)
        self.link.connect()
        self._changed = asyncio.Event()

    def connected(self) -> None:
        """The link is there."""

    def disconnected(self, reason: str) -> None:
        """The link is gone."""

    def pushed(self, topic: str, body: msgspec.Raw) -> None:
        if topic == PUSH_BATCH:
            for delivery in decode(body, Batch).deliveries:
                self.told[delivery.key].append(delivery)
        elif topic == PUSH_MOVED:
            self.moved += decode(body, Moved).keys
        self._changed.set()

    async def until(self, holds: Callable[[], bool]) -> None:
        """Wait until what was told makes it so."""
        async with asyncio.timeout(TIMEOUT_S):
            while not holds():
                self._changed.clear()
                await self._changed.wait()

    def seqs(self, key: str) -> list[int]:
        return [delivery.seq for delivery in self.told[key]]

    def texts(self, key: str) -> list[str]:
        return [delivery.body["text"] for delivery in self.told[key]]

    # --- asking -------------------------------------------------------------------------------------------------------

    def begin(
        self,
        key: str,
        name: str,
        user: str,
        body: Any = None,
        *,
        watch: bool = False,
        connection: str = "c1",
        timeout_s: float = TIMEOUT_S,
    ) -> asyncio.Future[msgspec.Raw]:
        command = Command(
            key=key,
            name=name,
            user=user,
            connection=connection,
            body=msgspec.Raw(encode(body if body is not None else COMMANDS[name]())),
            watch=watch,
        )
        return self.link.call(METHOD_COMMAND, command, timeout_s)

    async def ask(
        self, key: str, name: str, user: str, body: Any = None, reply: type[T] | Any = Any, **options: Any
    ) -> T:
        return decode(await self.begin(key, name, user, body, **options), reply)

    async def join(self, key: str, user: str, since: int | None = None, *, watch: bool = True) -> JoinedRoom:
        return await self.ask(key, "chat.join", user, JoinRoom(since=since), JoinedRoom, watch=watch)

    def begin_send(self, key: str, user: str, text: str, client_id: str | None = None, **options: Any) -> Any:
        body = SendMessage(id=new_id(), text=text, client_message_id=client_id or new_id())
        return self.begin(key, "chat.send", user, body, **options)

    async def send(self, key: str, user: str, text: str, client_id: str | None = None, **options: Any) -> SentMessage:
        return decode(await self.begin_send(key, user, text, client_id, **options), SentMessage)

    async def resume(self, *positions: Position, attachments: tuple[Attachment, ...] = ()) -> list[Resumed]:
        body = Resume(positions=positions, attachments=attachments)
        reply = decode(await self.link.call(METHOD_RESUME, body, TIMEOUT_S), ResumeReply)
        return list(reply.items)

    async def online(self, *users: str) -> set[str]:
        raw = await self.link.call(METHOD_ONLINE, Online(users=users), TIMEOUT_S)
        return set(decode(raw, OnlineReply).users)

    def unwatch(self, *keys: str) -> None:
        self.link.note(NOTE_UNWATCH, Unwatch(keys=keys))


class HeldAppend:
    """A storage port whose `append` waits while it is closed; everything else passes through."""

    def __init__(self, port: Any) -> None:
        self._port = port
        self.is_open = asyncio.Event()
        self.is_open.set()
        self.entered = asyncio.Event()
        self.sizes: list[int] = []

    def close(self) -> None:
        self.is_open.clear()
        self.entered.clear()

    async def append(self, rows: Any, *owed: Any) -> Any:
        self.sizes.append(len(rows))
        self.entered.set()
        await self.is_open.wait()
        return await self._port.append(rows, *owed)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._port, name)


class HeldClaim:
    """A chat log whose `claim` waits while it is closed."""

    def __init__(self, log: Any) -> None:
        self._log = log
        self.is_open = asyncio.Event()
        self.is_open.set()
        self.entered = asyncio.Event()

    async def claim(self, *room: Any, **options: Any) -> Any:
        if not self.is_open.is_set():
            self.entered.set()
        await self.is_open.wait()
        return await self._log.claim(*room, **options)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._log, name)


async def turns(count: int = 10) -> None:
    """Let everything that can happen without I/O happen."""
    for _ in range(count):
        await asyncio.sleep(0)
