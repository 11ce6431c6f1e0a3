"""A host and one chat room: order, the output gate, watching, resuming, and what it refuses."""

import asyncio

import pytest

from actors.limits import HostLimits, RoomLimits
from actors.messages import (
    Command,
    HistoryPage,
    JoinedRoom,
    JoinRoom,
    MarkRead,
    ReadHistory,
    SentMessage,
    Typing,
)
from cluster.kernel.errors import (
    CLIENT_MESSAGE_ID_REUSED,
    DEADLINE_EXCEEDED,
    EVENT_NOT_FOUND,
    INVALID_REQUEST,
    NOT_A_MEMBER,
    OVERLOADED,
    ROOM_NOT_FOUND,
    FlowError,
)
from cluster.kernel.wire import decode
from storage.records import RoomRecord
from tests.actors.world import ALICE, BOB, CAROL, DIRECT, Edge, HeldAppend, World, turns


async def group(world: World, *members: str) -> str:
    room_id = "1" * 24
    await world.storage.chat_log.create_room(
        RoomRecord(id=room_id, kind="group", name="", created_by=ALICE, created_at_ms=0)
    )
    await world.storage.memberships.add(room_id, members, 0)
    return f"chat/{room_id}"


async def test_what_one_says_the_other_hears_once_in_order(world: World) -> None:
    """Invariant 1: one total order a room, without gaps or repeats."""
    host = world.host()
    here, there = Edge(host, world.clock), Edge(host, world.clock, "edge-1")
    joined = await here.join(DIRECT, ALICE)
    assert (joined.epoch, joined.seq, joined.recovered, joined.messages) == (1, 0, False, ())
    await there.join(DIRECT, BOB)
    calls = [(here, ALICE), (there, BOB)] * 50
    answers = [edge.begin_send(DIRECT, user, f"{n}") for n, (edge, user) in enumerate(calls)]
    sent = [decode(await answer, SentMessage) for answer in answers]
    assert [answer.seq for answer in sent] == list(range(1, 101))
    for edge in (here, there):
        await edge.until(lambda edge=edge: len(edge.told[DIRECT]) == 100)
        assert edge.seqs(DIRECT) == list(range(1, 101))
        assert edge.texts(DIRECT) == [f"{n}" for n in range(100)]
    assert world.owed > 0


async def test_the_body_of_a_message_is_the_contracts(world: World) -> None:
    edge = Edge(world.host(), world.clock)
    await edge.join(DIRECT, ALICE)
    sent = await edge.send(DIRECT, ALICE, "hi", "k1")
    await edge.until(lambda: bool(edge.told[DIRECT]))
    (told,) = edge.told[DIRECT]
    assert (told.name, told.seq, told.epoch) == ("chat:new_message", 1, 1)
    assert told.body == {
        "roomId": f"dm:{ALICE}:{BOB}",
        "seq": 1,
        "epoch": 1,
        "id": sent.id,
        "userId": ALICE,
        "text": "hi",
        "ts": world.clock.now_ms(),
        "clientMsgId": "k1",
    }


async def test_nothing_leaves_before_it_is_durable(world: World) -> None:
    """Invariant 2: an ack means durable; so does whatever else tells of a message."""
    log = HeldAppend(world.storage.chat_log)
    host = world.host(chat_log=log)
    edge = Edge(host, world.clock)
    await edge.join(DIRECT, ALICE)
    log.close()
    ack = edge.begin_send(DIRECT, ALICE, "one")
    await log.entered.wait()
    join = edge.begin(DIRECT, "chat.join", BOB, JoinRoom(since=0), watch=True)
    history = edge.begin(DIRECT, "chat.history", BOB, ReadHistory())
    again = edge.begin_send(DIRECT, ALICE, "two", "k2")
    same = edge.begin_send(DIRECT, ALICE, "two", "k2")
    await turns()
    assert not any(answer.done() for answer in (ack, join, history, again, same))
    assert edge.told[DIRECT] == []
    log.is_open.set()
    assert decode(await ack, SentMessage).seq == 1
    assert decode(await join, JoinedRoom).seq == 1
    assert [message["text"] for message in decode(await history, HistoryPage).messages] == ["one"]
    assert decode(await again, SentMessage) == decode(await same, SentMessage)
    await edge.until(lambda: edge.seqs(DIRECT) == [1, 2])
    assert log.sizes == [1, 1], "what came while the first was written went together"


async def test_a_batch_forms_behind_the_one_in_flight(world: World) -> None:
    log = HeldAppend(world.storage.chat_log)
    edge = Edge(world.host(chat_log=log), world.clock)
    await edge.join(DIRECT, ALICE)
    log.close()
    first = edge.begin_send(DIRECT, ALICE, "0")
    await log.entered.wait()
    rest = [edge.begin_send(DIRECT, ALICE, f"{n}") for n in range(1, 31)]
    await turns()
    log.is_open.set()
    await asyncio.gather(first, *rest)
    assert log.sizes == [1, 30]


@pytest.mark.parametrize(("client_id", "text", "refused"), [("k", "same", False), ("k", "other", True)])
async def test_a_client_message_id_is_one_message(world: World, client_id: str, text: str, refused: bool) -> None:
    """Invariant 9: the same clientMsgId gets the same answer."""
    edge = Edge(world.host(), world.clock)
    await edge.join(DIRECT, ALICE)
    first = await edge.send(DIRECT, ALICE, "same", client_id)
    if refused:
        with pytest.raises(FlowError) as caught:
            await edge.send(DIRECT, ALICE, text, client_id)
        assert caught.value.kind is CLIENT_MESSAGE_ID_REUSED
    else:
        assert await edge.send(DIRECT, ALICE, text, client_id) == first
    assert (await edge.send(DIRECT, BOB, "mine", client_id)).seq == 2
    await edge.until(lambda: edge.seqs(DIRECT) == [1, 2])


async def test_a_client_message_id_is_known_after_the_window_and_after_a_restart(world: World) -> None:
    limits = HostLimits(rooms=RoomLimits(window_messages=2, load_window_messages=2))
    edge = Edge(world.host(limits=limits), world.clock)
    first = await edge.send(DIRECT, ALICE, "0", "k0")
    for n in range(1, 6):
        await edge.send(DIRECT, ALICE, f"{n}", f"k{n}")
    # In the middle of new messages: those after the repeat are not harmed.
    answers = [edge.begin_send(DIRECT, ALICE, "6", "k6"), edge.begin_send(DIRECT, ALICE, "0", "k0")]
    answers.append(edge.begin_send(DIRECT, ALICE, "7", "k7"))
    sixth, again, seventh = [decode(await answer, SentMessage) for answer in answers]
    assert again == first
    assert (sixth.seq, seventh.seq) == (7, 8)
    restarted = world.host("host-1")
    edge = Edge(restarted, world.clock)
    assert await edge.send(DIRECT, ALICE, "0", "k0") == first
    with pytest.raises(FlowError) as caught:
        await edge.send(DIRECT, ALICE, "changed", "k1")
    assert caught.value.kind is CLIENT_MESSAGE_ID_REUSED
    assert (await edge.send(DIRECT, ALICE, "8")).seq == 9


async def test_a_room_of_strangers_is_closed(world: World) -> None:
    key = await group(world, ALICE)
    edge = Edge(world.host(), world.clock)
    await edge.join(key, ALICE)
    for asked in (edge.join(key, BOB), edge.send(key, BOB, "hi"), edge.ask(key, "chat.history", BOB)):
        with pytest.raises(FlowError) as caught:
            await asked
        assert caught.value.kind is NOT_A_MEMBER
    with pytest.raises(FlowError) as caught:
        await edge.join(DIRECT, CAROL)
    assert caught.value.kind is NOT_A_MEMBER
    assert (await edge.send(key, ALICE, "hi")).seq == 1


@pytest.mark.parametrize(
    ("key", "name", "kind"),
    [
        ("chat/" + "9" * 24, "chat.join", ROOM_NOT_FOUND),
        ("chat/event:" + "9" * 24, "chat.join", EVENT_NOT_FOUND),
        (f"chat/dm:{BOB}:{ALICE}", "chat.join", INVALID_REQUEST),
        ("chat/nonsense", "chat.join", INVALID_REQUEST),
        ("nonsense", "chat.join", INVALID_REQUEST),
        ("ship/" + "9" * 24, "chat.join", INVALID_REQUEST),
        ("event/" + "9" * 24, "chat.join", INVALID_REQUEST),
        ("event/" + "9" * 24, "event.watch", EVENT_NOT_FOUND),
        ("event/x", "event.watch", INVALID_REQUEST),
    ],
)
async def test_a_key_that_cannot_be_is_refused_and_not_kept(world: World, key: str, name: str, kind: object) -> None:
    host = world.host()
    edge = Edge(host, world.clock)
    with pytest.raises(FlowError) as caught:
        await edge.ask(key, name, ALICE)
    assert caught.value.kind is kind
    assert host.statistics()["active"] == 0


async def test_what_is_not_of_the_contract_is_refused(world: World) -> None:
    edge = Edge(world.host(), world.clock)
    bad = [
        edge.link.call("command", {"key": DIRECT}, 5.0),
        edge.link.call("command", Command(key=DIRECT, name="chat.shout", user=ALICE), 5.0),
        edge.link.call("command", Command(key=DIRECT, name="chat.send", user=ALICE), 5.0),
        edge.link.call("dance", {}, 5.0),
        edge.link.call("online", {"users": ["x"] * 501}, 5.0),
    ]
    for call in bad:
        with pytest.raises(FlowError) as caught:
            await call
        assert caught.value.kind is INVALID_REQUEST


async def test_typing_and_read_marks_are_told_without_a_position(world: World) -> None:
    edge = Edge(world.host(), world.clock)
    await world.storage.memberships.add(f"dm:{ALICE}:{BOB}", [ALICE, BOB], 0)
    await edge.join(DIRECT, ALICE)
    await edge.send(DIRECT, ALICE, "hi")
    await edge.ask(DIRECT, "chat.typing", BOB, Typing(is_typing=True), connection="c7")
    await edge.ask(DIRECT, "chat.read", BOB, MarkRead(seq=1))
    await edge.until(lambda: len(edge.told[DIRECT]) == 3)
    _, typing, read = edge.told[DIRECT]
    assert (typing.name, typing.seq, typing.skip_connection) == ("chat:user_typing", 0, "c7")
    assert (read.name, read.seq) == ("chat:read_update", 0)
    assert read.body == {"roomId": f"dm:{ALICE}:{BOB}", "userId": BOB, "seq": 1}
    assert await world.storage.memberships.read_mark(f"dm:{ALICE}:{BOB}", BOB) == 1


async def test_an_edge_without_joined_people_hears_nothing_more(world: World) -> None:
    host = world.host()
    writer, reader = Edge(host, world.clock), Edge(host, world.clock, "edge-1")
    await reader.join(DIRECT, BOB)
    await writer.send(DIRECT, ALICE, "1")
    await reader.until(lambda: len(reader.told[DIRECT]) == 1)
    reader.unwatch(DIRECT)
    await turns()
    await writer.send(DIRECT, ALICE, "2")
    await turns()
    assert reader.seqs(DIRECT) == [1]
    assert host.statistics()["watches"] == 0


async def test_too_much_for_one_room_is_refused_and_harms_no_other(world: World) -> None:
    """Invariant 5: every queue has a bound and a gauge."""
    log = HeldAppend(world.storage.chat_log)
    host = world.host(chat_log=log, limits=HostLimits(max_waiting_per_key=10))
    edge = Edge(host, world.clock)
    other = f"chat/dm:{ALICE}:{CAROL}"
    await edge.join(DIRECT, ALICE)
    log.close()
    answers = [edge.begin_send(DIRECT, ALICE, f"{n}") for n in range(15)]
    mine = edge.begin_send(other, CAROL, "mine")
    await log.entered.wait()
    await turns()
    assert host.statistics()["waiting"] == 11
    log.is_open.set()
    results = await asyncio.gather(*answers, return_exceptions=True)
    assert [decode(raw, SentMessage).seq for raw in results[:10]] == list(range(1, 11))  # type: ignore[arg-type]
    for refused in results[10:]:
        assert isinstance(refused, FlowError)
        assert refused.kind is OVERLOADED
        assert refused.retry_after_ms
    assert decode(await mine, SentMessage).seq == 1
    assert host.statistics()["overloaded"] == 5
    assert host.statistics()["waiting"] == 0


async def test_a_full_commit_queue_refuses_before_it_decides(world: World) -> None:
    log = HeldAppend(world.storage.chat_log)
    host = world.host(chat_log=log, limits=HostLimits(max_queued_rows=4))
    edge = Edge(host, world.clock)
    await edge.join(DIRECT, ALICE)
    log.close()
    answers = [edge.begin_send(DIRECT, ALICE, f"{n}") for n in range(6)]
    await turns()
    refused = [answer.exception() for answer in answers if answer.done()]
    assert [error.kind for error in refused if isinstance(error, FlowError)] == [OVERLOADED] * 2
    log.is_open.set()
    await asyncio.gather(*answers[:4])
    assert (await edge.send(DIRECT, ALICE, "after")).seq == 5


async def test_who_waits_too_long_is_told_and_the_message_still_lands(world: World) -> None:
    log = HeldAppend(world.storage.chat_log)
    host = world.host(chat_log=log)
    edge = Edge(host, world.clock)
    await edge.join(DIRECT, ALICE)
    log.close()
    late = edge.begin_send(DIRECT, ALICE, "late", "k", timeout_s=5.0)
    await log.entered.wait()
    world.clock.advance(6.0)
    with pytest.raises(FlowError) as caught:
        await late
    assert caught.value.kind is DEADLINE_EXCEEDED
    log.is_open.set()
    await edge.until(lambda: edge.seqs(DIRECT) == [1])
    assert (await edge.send(DIRECT, ALICE, "late", "k")).seq == 1
