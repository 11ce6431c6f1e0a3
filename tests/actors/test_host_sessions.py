"""A host, sessions and topics: who is live, what is unread, and fan-out without history."""

import asyncio
from typing import Any

import pytest

from actors.host import Host
from actors.limits import HostLimits
from actors.messages import (
    Attached,
    Attachment,
    NotificationPage,
    Notified,
    Notify,
    Position,
    PublishToTopic,
    ReadNotification,
    Unread,
)
from actors.session_epochs import SessionEpochs, epoch_of
from cluster.kernel.errors import MOVED, NOT_FOUND, USER_NOT_FOUND, FlowError
from cluster.kernel.ids import new_id
from cluster.kernel.tasks import TaskOwner
from cluster.placement.view import Member, View
from storage.records import Notification
from tests.actors.world import ALICE, BOB, CAROL, Edge, HeldAppend, World, turns

ME = f"user/{ALICE}"


@pytest.fixture
async def storage(world: World) -> Any:
    for user in (ALICE, BOB):
        await world.storage.notifications.put_user(user)
    return world.storage


def note(notification_id: str | None = None) -> Notify:
    return Notify(id=notification_id or new_id(), type="t", title="T", body="B", data={"k": "v"})


async def attach(edge: Edge, connection: str = "c1", user: str = ALICE) -> Attached:
    return await edge.ask(f"user/{user}", "session.attach", user, None, Attached, watch=True, connection=connection)


async def notify(edge: Edge, body: Notify, user: str = ALICE) -> Notified:
    return await edge.ask(f"user/{user}", "session.notify", user, body, Notified)


async def test_a_live_person_hears_and_an_absent_one_is_owed_a_push(world: World, storage: Any) -> None:
    edge = Edge(world.host(), world.clock)
    first = note()
    assert await notify(edge, first) == Notified(live=False, unread=1)
    attached = await attach(edge)
    assert attached.unread == 1
    second = note()
    assert await notify(edge, second) == Notified(live=True, unread=2)
    await edge.until(lambda: len(edge.told[ME]) == 2)
    new, badge = edge.told[ME]
    assert [(told.name, told.seq) for told in (new, badge)] == [
        ("notification:new", attached.seq + 1),
        ("notification:badge", attached.seq + 2),
    ]
    assert new.body["id"] == second.id
    assert badge.body == {"unread": 2}
    assert await notify(edge, first) == Notified(live=False, unread=2)
    page = await edge.ask(ME, "session.notifications", ALICE, None, NotificationPage)
    assert {item["id"] for item in page.items} == {first.id, second.id}
    read = await edge.ask(ME, "session.read", ALICE, ReadNotification(id=first.id), Unread)
    assert read.unread == 1
    assert (await edge.ask(ME, "session.read", ALICE, ReadNotification(id=first.id), Unread)).unread == 1
    with pytest.raises(FlowError) as caught:
        await edge.ask(ME, "session.read", ALICE, ReadNotification(id=new_id()))
    assert caught.value.kind is NOT_FOUND
    with pytest.raises(FlowError) as caught:
        await notify(edge, note(), CAROL)
    assert caught.value.kind is USER_NOT_FOUND


async def test_nobody_hears_of_a_notification_before_it_is_stored(world: World, storage: Any) -> None:
    box = HeldAppend(storage.notifications)
    edge = Edge(world.host(notifications=box), world.clock)
    await attach(edge)
    box.close()
    asked = asyncio.ensure_future(notify(edge, note()))
    await box.entered.wait()
    await turns()
    assert edge.told[ME] == []
    box.is_open.set()
    assert (await asked).live


@pytest.mark.parametrize("is_unsure", [False, True])
async def test_the_same_cause_notifies_once(world: World, storage: Any, is_unsure: bool) -> None:
    """Known in memory, known in storage after a restart, and written by a try whose answer was lost."""
    edge = Edge(world.host(), world.clock)
    body = note()
    if is_unsure:
        storage.notifications.faults.next.extend(["none", "after"])
    assert (await notify(edge, body)).unread == 1
    assert (await notify(edge, body)).unread == 1
    restarted = Edge(world.host("host-1"), world.clock)
    assert await notify(restarted, body) == Notified(live=False, unread=1)
    assert (await notify(restarted, note())).unread == 2
    assert await storage.notifications.unread(ALICE) == 2


async def test_a_live_person_hears_what_a_try_with_a_lost_answer_wrote(world: World, storage: Any) -> None:
    edge = Edge(world.host(), world.clock)
    await attach(edge)
    storage.notifications.faults.next.extend(["after"])
    assert await notify(edge, note()) == Notified(live=True, unread=1)
    await edge.until(lambda: len(edge.told[ME]) == 2)


async def test_sockets_outlive_a_reading_of_the_session(world: World, storage: Any) -> None:
    host = world.host()
    edge = Edge(host, world.clock)
    await attach(edge)
    body = note()
    stored = Notification(id=body.id, user_id=ALICE, type="t", title="T", body="B", data={}, at_ms=1)
    await storage.notifications.append([stored])
    assert await notify(edge, body) == Notified(live=False, unread=1)
    assert host.statistics()["reloads"] == 1
    assert await edge.online(ALICE) == {ALICE}
    await edge.until(lambda: edge.moved == [ME])


async def test_presence_follows_sockets_and_edges(world: World, storage: Any) -> None:
    host = world.host()
    here, there = Edge(host, world.clock), Edge(host, world.clock, "edge-1")
    assert await here.online(ALICE, BOB) == set()
    assert host.statistics()["active"] == 0, "asking wakes nobody"
    await attach(here, "c1")
    await attach(there, "c2")
    assert await here.online(ALICE, BOB) == {ALICE}
    await here.ask(ME, "session.detach", ALICE, connection="c1")
    assert await here.online(ALICE) == {ALICE}
    there.link.cut()
    assert await here.online(ALICE) == set()
    assert (await notify(here, note())).live is False


async def test_an_edge_that_comes_back_tells_its_sockets_again(world: World, storage: Any) -> None:
    host = world.host()
    edge = Edge(host, world.clock)
    attached = await attach(edge)
    edge.link.cut()
    other = Edge(host, world.clock, "edge-1")
    assert (await notify(other, note())).live is False
    edge.link.connect()
    (resumed,) = await edge.resume(
        Position(key=ME, epoch=attached.epoch, seq=attached.seq),
        attachments=(Attachment(user=ALICE, connection="c1"), Attachment(user=BOB, connection="c2")),
    )
    assert resumed.reset
    assert [delivery.body for delivery in resumed.missed] == [{"unread": 1}]
    assert await other.online(ALICE, BOB) == {ALICE, BOB}
    assert (await notify(other, note())).live
    await edge.until(lambda: edge.seqs(ME) == [resumed.seq + 1, resumed.seq + 2])


@pytest.mark.parametrize(("size", "batches"), [(200, 1), (50, 4)])
async def test_people_who_come_at_once_are_read_together(world: World, size: int, batches: int) -> None:
    people = [new_id() for _ in range(200)]
    for user in people:
        await world.storage.notifications.put_user(user)
    host = world.host(limits=HostLimits(session_batch=size))
    edge = Edge(host, world.clock)
    attached = await asyncio.gather(*(attach(edge, user, user) for user in people))
    assert {answer.unread for answer in attached} == {0}
    assert host.statistics()["session_load_batches"] <= batches
    assert host.statistics()["session_loads_queued"] == 0
    assert host.statistics()["activations"] == 200


class HeldReading:
    """Notifications whose `unread_of` waits while it is closed."""

    def __init__(self, notifications: Any) -> None:
        self._notifications = notifications
        self.is_open = asyncio.Event()
        self.entered = asyncio.Event()

    async def unread_of(self, user_ids: Any) -> Any:
        self.entered.set()
        await self.is_open.wait()
        return await self._notifications.unread_of(user_ids)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._notifications, name)


async def test_the_epoch_is_of_the_view_in_which_the_session_becomes_active(world: World, storage: Any) -> None:
    reading = HeldReading(storage.notifications)
    host = world.host(notifications=reading)
    asked = asyncio.ensure_future(attach(Edge(host, world.clock)))
    await reading.entered.wait()
    view = world.give_all_to(host)
    reading.is_open.set()
    assert (await asked).epoch == epoch_of(view.version, 0)


async def test_a_session_that_went_elsewhere_while_it_was_read_takes_no_epoch(world: World, storage: Any) -> None:
    reading = HeldReading(storage.notifications)
    host = world.host(notifications=reading)
    asked = asyncio.ensure_future(attach(Edge(host, world.clock)))
    await reading.entered.wait()
    world.host("host-1")
    host.apply_view(View(world.version, (Member("host-1", "host", "host-1-a", "h:1", "node"),)))
    reading.is_open.set()
    with pytest.raises(FlowError) as caught:
        await asked
    assert caught.value.kind is MOVED
    await turns()
    assert host.statistics()["active"] == host.statistics()["session_epochs_of_a_shard"] == 0


async def test_an_owner_that_is_one_no_more_is_below_its_successor_however_late_it_reads(
    world: World, storage: Any
) -> None:
    late = Edge(world.host(), world.clock)
    successor = Edge(world.host("host-1"), world.clock)
    here = await attach(successor)
    assert (await attach(late)).epoch < here.epoch
    back = Edge(world.host("host-2"), world.clock)
    assert (await attach(back)).epoch > here.epoch


async def test_a_session_that_left_memory_comes_back_with_a_higher_epoch(world: World, storage: Any) -> None:
    host = world.host()
    edge = Edge(host, world.clock)
    first = await attach(edge)
    await edge.ask(ME, "session.detach", ALICE, connection="c1")
    edge.unwatch(ME)
    await turns()
    world.clock.advance(1_000.0)
    host.sweep()
    assert host.statistics()["active"] == 0
    assert (await attach(edge)).epoch == first.epoch + 1


async def test_a_process_that_takes_its_name_twice_makes_no_epoch_twice(world: World, storage: Any) -> None:
    """Its first start failed after the view had it, and it could not say so."""
    epochs = SessionEpochs()
    first, second = (
        Host("h", "h-a", world.ports(), HostLimits(), world.clock, TaskOwner("h"), epochs=epochs) for _ in "12"
    )
    world.hosts += [first, second]
    seen = []
    for host in (first, second):
        host.apply_view(View(1, (Member("h", "host", "h-a", "h:1", "node"),)))
        seen.append((await attach(Edge(host, world.clock))).epoch)
    assert seen == [epoch_of(1, 0), epoch_of(1, 1)]


async def test_a_session_with_a_socket_stays_in_memory(world: World, storage: Any) -> None:
    host = world.host()
    edge = Edge(host, world.clock)
    await attach(edge)
    edge.unwatch(ME)
    await turns()
    world.clock.advance(1_000.0)
    host.sweep()
    assert host.statistics()["active"] == 1
    await edge.ask(ME, "session.detach", ALICE, connection="c1")
    world.clock.advance(1_000.0)
    host.sweep()
    assert host.statistics()["active"] == 0


async def test_a_topic_reaches_who_watches_now_and_keeps_nothing(world: World) -> None:
    host = world.host()
    watcher, publisher = Edge(host, world.clock), Edge(host, world.clock, "edge-1")
    topic = "topic/location:u09"
    event = PublishToTopic(name="event:new", body={"id": "x"}, skip_topics=("interest:jazz",))
    await publisher.ask(topic, "topic.publish", "", event)
    await watcher.ask(topic, "topic.watch", ALICE, watch=True)
    await publisher.ask(topic, "topic.publish", "", event)
    await watcher.until(lambda: bool(watcher.told[topic]))
    (told,) = watcher.told[topic]
    assert (told.name, told.body, told.seq, told.skip_topics) == ("event:new", {"id": "x"}, 0, ("interest:jazz",))
    watcher.link.cut()
    watcher.link.connect()
    (resumed,) = await watcher.resume(Position(key=topic, epoch=0, seq=0))
    assert (resumed.reset, resumed.error) == (False, "")
    await publisher.ask(topic, "topic.publish", "", event)
    await watcher.until(lambda: len(watcher.told[topic]) == 2)
