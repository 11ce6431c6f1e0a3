"""A host, sessions and topics: who is live, what is unread, and fan-out without history."""

import asyncio
from typing import Any

import pytest

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
from cluster.kernel.errors import NOT_FOUND, USER_NOT_FOUND, FlowError
from cluster.kernel.ids import new_id
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


@pytest.mark.parametrize(("beside", "batches"), [(200, 1), (50, 4)])
async def test_people_who_come_at_once_are_claimed_together(world: World, beside: int, batches: int) -> None:
    people = [new_id() for _ in range(200)]
    for user in people:
        await world.storage.notifications.put_user(user)
    host = world.host(limits=HostLimits(concurrent_session_loads=beside))
    edge = Edge(host, world.clock)
    attached = await asyncio.gather(*(attach(edge, user, user) for user in people))
    assert {answer.epoch for answer in attached} == {1}
    assert host.statistics()["session_claim_batches"] <= batches
    assert host.statistics()["loads_running"] == 0


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
