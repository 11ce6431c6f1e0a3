"""Hosts on real MongoDB: the same promises with the fences that hold in production."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest

from actors.host import Host
from actors.limits import HostLimits
from actors.messages import AnswerRsvp, AttachConnection, EventSnapshot, Notified, Notify, RsvpAnswer, SentMessage
from actors.ports import HostPorts
from cluster.kernel.clock import SystemClock
from cluster.kernel.ids import new_id
from cluster.kernel.tasks import TaskOwner
from cluster.kernel.wire import decode
from cluster.placement.view import Member, View
from cluster.run.event_reader import StoredEvents
from storage.chat_log import MongoChatLog
from storage.open import Storage, open_storage
from storage.records import RoomHead, User
from storage.settings import StorageSettings
from tests.actors.world import Edge

pytestmark = pytest.mark.storage


class CountingLog:
    """The real log, and how many rooms were claimed by themselves."""

    def __init__(self, log: MongoChatLog) -> None:
        self._log = log
        self.alone = 0

    async def claim(self, room_id: str, kind: str, window: int, *, create: bool) -> RoomHead:
        self.alone += 1
        return await self._log.claim(room_id, kind, window, create=create)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._log, name)


class RealWorld:
    """Hosts over one real database, each of which believes that everything is its own."""

    def __init__(self, storage: Storage) -> None:
        self.storage = storage
        self.clock = SystemClock()
        self.hosts: list[Host] = []
        self.log = CountingLog(storage.chat_log)

    def edge(self) -> Edge:
        """An edge of a host of its own."""
        name = f"host-{len(self.hosts)}"
        storage = self.storage
        ports = HostPorts(
            chat_log=self.log,  # type: ignore[arg-type]
            memberships=storage.memberships,
            rsvps=storage.rsvps,
            notifications=storage.notifications,
            users=storage.users,
            events=StoredEvents(storage.events),
        )
        host = Host(name, f"{name}-a", ports, HostLimits(decide_attempts=200), self.clock, TaskOwner(name))
        host.start()
        host.apply_view(View(1, (Member(name, "host", f"{name}-a", "h:1", "node"),)))
        self.hosts.append(host)
        return Edge(host, self.clock, f"edge-of-{name}")  # type: ignore[arg-type]


@pytest.fixture
async def real(storage_settings: StorageSettings) -> AsyncIterator[RealWorld]:
    storage = await open_storage(storage_settings, SystemClock())
    real = RealWorld(storage)
    yield real
    for host in real.hosts:
        await host.stop()
    await storage.close()


async def person(real: RealWorld, name: str) -> str:
    user = User(id=new_id(), username=name, email=None, password_hash="", name=name)
    await real.storage.users.create(user)
    return user.id


async def event(real: RealWorld, capacity: int) -> str:
    stored = await real.storage.events.create(
        {
            "title": "A concert",
            "datetime": {
                "start": datetime(2100, 1, 1, 10, tzinfo=UTC),
                "end": datetime(2100, 1, 1, 12, tzinfo=UTC),
                "timezone": "UTC",
            },
            "capacity": {"max": capacity},
            "visibility": "public",
        }
    )
    return str(stored["_id"])


async def test_two_hosts_on_one_room_make_one_order(real: RealWorld) -> None:
    here, there = real.edge(), real.edge()
    first, second = sorted((await person(real, "ann"), await person(real, "ben")))
    key = f"chat/dm:{first}:{second}"
    for edge in (here, there):
        await edge.join(key, first)

    async def write(edge: Edge, user: str) -> list[SentMessage]:
        return [await edge.send(key, user, f"{user} {n}", f"{n}") for n in range(25)]

    acked = [sent for acks in await asyncio.gather(write(here, first), write(there, second)) for sent in acks]
    log = await real.storage.chat_log.after(key.removeprefix("chat/"), 0, 500)
    assert [message.seq for message in log] == list(range(1, 51))
    assert sorted((sent.seq, sent.id) for sent in acked) == [(message.seq, message.id) for message in log]
    again = await there.send(key, first, f"{first} 3", "3")
    assert again in acked
    for edge in (here, there):
        await edge.send(key, first, "done", edge.name)
        assert edge.seqs(key) == list(range(1, len(edge.seqs(key)) + 1))


async def test_a_room_comes_back_whole_on_another_host(real: RealWorld) -> None:
    first, second = sorted((await person(real, "ann"), await person(real, "ben")))
    key = f"chat/dm:{first}:{second}"
    here = real.edge()
    calls = [here.begin_send(key, first, f"{n}", f"{n}") for n in range(100)]
    sent = [decode(await call, SentMessage) for call in calls]
    assert [answer.seq for answer in sent] == list(range(1, 101))
    joined = await real.edge().join(key, second, since=0)
    assert joined.recovered
    assert [message["text"] for message in joined.messages] == [f"{n}" for n in range(100)]
    assert joined.epoch == 2


async def test_rooms_that_come_together_are_claimed_together_but_for_new_ones(real: RealWorld) -> None:
    ann, *others = [await person(real, name) for name in ("ann", "ben", "carl", "dora")]
    rooms = [f"dm:{min(ann, other)}:{max(ann, other)}" for other in others]
    event_room = f"event:{await event(real, 5)}"
    await real.storage.memberships.add(event_room, [ann], 1)
    *known, new = [f"chat/{room}" for room in (event_room, *rooms)]
    first = real.edge()
    for key in known:
        await first.send(key, ann, "hello")
    real.log.alone = 0
    second = real.edge()
    joined = await asyncio.gather(*(second.join(key, ann) for key in (*known, new)))
    assert [(room.epoch, len(room.messages)) for room in joined] == [*((2, 1) for _ in known), (1, 0)]
    assert real.log.alone == 1
    assert real.hosts[-1].statistics()["claim_batches"] == 1


async def test_a_race_for_seats_never_oversells(real: RealWorld) -> None:
    event_id = await event(real, 5)
    key = f"event/{event_id}"
    edges = [real.edge(), real.edge()]
    people = [new_id() for _ in range(40)]

    async def go(n: int, user: str) -> RsvpAnswer:
        return await edges[n % 2].ask(key, "event.rsvp", user, AnswerRsvp(status="going"), RsvpAnswer)

    answers = await asyncio.gather(*(go(n, user) for n, user in enumerate(people)))
    assert sum(answer.status == "going" for answer in answers) == 5
    going = await real.storage.rsvps.going(event_id, None, 100)
    assert sorted(going) == sorted(
        user for user, answer in zip(people, answers, strict=True) if answer.status == "going"
    )
    await edges[0].ask(key, "event.rsvp", going[0], AnswerRsvp(status="declined"))
    snapshot = await real.edge().ask(key, "event.watch", people[0], None, EventSnapshot)
    assert (snapshot.attending, snapshot.waiting) == (5, 34)


async def test_a_changed_event_is_read_from_its_document(real: RealWorld) -> None:
    event_id = await event(real, 1)
    key = f"event/{event_id}"
    edge = real.edge()
    await edge.ask(key, "event.watch", new_id(), None, watch=True)
    await real.storage.events.update(event_id, {"capacity": {"max": 2}, "title": "A louder concert"})
    await edge.ask(key, "event.changed", "")
    await edge.until(lambda: len(edge.told[key]) == 2)
    update, counts = edge.told[key]
    assert (update.name, update.body["title"], update.body["id"]) == ("event:update", "A louder concert", event_id)
    assert counts.body["capacity"] == 2


async def test_notifications_are_kept_and_counted(real: RealWorld) -> None:
    user = await person(real, "ann")
    key = f"user/{user}"
    edge = real.edge()
    await edge.ask(key, "session.attach", user, AttachConnection(), watch=True)
    body: dict[str, Any] = {"id": new_id(), "type": "t", "title": "T", "body": "B", "data": {}}
    assert await edge.ask(key, "session.notify", user, Notify(**body), Notified) == Notified(live=True, unread=1)
    other = real.edge()
    assert await other.ask(key, "session.notify", user, Notify(**body), Notified) == Notified(live=False, unread=1)
