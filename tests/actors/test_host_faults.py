"""A host when storage refuses, is away, or another host writes: nothing acked is lost, and there is one total order."""

import asyncio
import random
from typing import Any

import pytest
from msgspec import structs

from actors.limits import HostLimits, RoomLimits
from actors.messages import SentMessage
from cluster.kernel.errors import INTERNAL, MOVED, UNAVAILABLE, FlowError
from cluster.kernel.ids import new_id
from cluster.kernel.wire import decode
from storage.records import AppendResult, Message
from tests.actors.world import ALICE, BOB, CAROL, DIRECT, Edge, HeldAppend, World

ROOM = DIRECT.removeprefix("chat/")
OTHER = f"chat/dm:{ALICE}:{CAROL}"


async def log_of(world: World, room_id: str = ROOM) -> list[Message]:
    return await world.storage.chat_log.after(room_id, 0, 500)


def foreign(seq: int, text: str, client_id: str = "foreign") -> Message:
    """What another owner of the room would write."""
    return Message(
        id=new_id(),
        room_id=ROOM,
        seq=seq,
        epoch=99,
        user_id=BOB,
        text=text,
        at_ms=1,
        client_message_id=client_id,
    )


@pytest.mark.parametrize("faults", [["before"] * 3, ["after"], ["after", "before", "after"]])
async def test_when_the_database_is_away_the_message_waits_and_is_written_once(world: World, faults: Any) -> None:
    host = world.host()
    edge = Edge(host, world.clock)
    await edge.join(DIRECT, ALICE)
    world.storage.chat_log.faults.next.extend(faults)
    answers = [edge.begin_send(DIRECT, ALICE, f"{n}") for n in range(3)]
    sent = [decode(await answer, SentMessage) for answer in answers]
    assert [answer.seq for answer in sent] == [1, 2, 3]
    assert [message.id for message in await log_of(world)] == [answer.id for answer in sent]
    await edge.until(lambda: edge.seqs(DIRECT) == [1, 2, 3])
    assert host.statistics()["chat_retries"] == len(faults)


async def test_a_refusal_in_the_middle_of_a_batch_stops_one_room_and_no_other(world: World) -> None:
    log = HeldAppend(world.storage.chat_log)
    host = world.host(chat_log=log)
    edge = Edge(host, world.clock)
    await edge.join(DIRECT, ALICE)
    await edge.join(OTHER, ALICE)
    log.close()
    answers = [edge.begin_send(key, ALICE, f"{n}") for n in range(5) for key in (DIRECT, OTHER)]
    await log.entered.wait()
    # Another owner takes the room's third position while ours are on their way.
    stolen = foreign(3, "stolen")
    await world.storage.chat_log.append([stolen], [None])
    log.is_open.set()
    sent = [decode(await answer, SentMessage) for answer in answers]
    assert [answer.seq for answer in sent[0::2]] == [1, 2, 4, 5, 6]
    assert [answer.seq for answer in sent[1::2]] == [1, 2, 3, 4, 5]
    assert [message.text for message in await log_of(world)] == ["0", "1", "stolen", "2", "3", "4"]
    await edge.until(lambda: len(edge.told[DIRECT]) == 6 and len(edge.told[OTHER]) == 5)
    assert edge.seqs(DIRECT) == [1, 2, 3, 4, 5, 6]
    assert edge.texts(DIRECT) == ["0", "1", "stolen", "2", "3", "4"]
    assert edge.seqs(OTHER) == [1, 2, 3, 4, 5]
    assert host.statistics()["fenced"] == 1
    assert host.statistics()["chat_queued_rows"] == 0


async def test_watchers_who_cannot_be_brought_up_to_date_are_told_to_ask(world: World) -> None:
    host = world.host(limits=HostLimits(rooms=RoomLimits(load_window_messages=2)))
    edge = Edge(host, world.clock)
    await edge.join(DIRECT, ALICE)
    head = await world.storage.chat_log.claim(ROOM, "dm", 1, create=True)
    first, *others = (structs.replace(foreign(n, f"{n}", f"k{n}"), epoch=head.epoch) for n in range(1, 6))
    theirs = [structs.replace(first, id=head.sealed_id, first=True), *others]
    await world.storage.chat_log.append(theirs, [None] * 5)
    assert (await edge.send(DIRECT, ALICE, "mine")).seq == 6
    await edge.until(lambda: edge.moved == [DIRECT])
    assert edge.told[DIRECT] == []


async def test_a_fenced_owner_reads_the_room_again_before_it_acks(world: World) -> None:
    """Invariant 3: one committing owner a room and epoch."""
    host = world.host()
    edge = Edge(host, world.clock)
    first = await edge.join(DIRECT, ALICE)
    await world.storage.chat_log.claim(ROOM, "dm", 1, create=True)
    sent = await edge.send(DIRECT, ALICE, "mine")
    assert sent.seq == 1
    assert [message.id for message in await log_of(world)] == [sent.id]
    assert (await edge.join(DIRECT, ALICE)).epoch == first.epoch + 2
    await edge.until(lambda: edge.seqs(DIRECT) == [1])
    assert host.statistics()["fenced"] == 1


async def test_an_owner_refused_without_end_gives_up_and_says_so(world: World) -> None:
    class Refusing:
        """Every append loses to somebody else."""

        def __init__(self, log: Any) -> None:
            self._log = log

        async def append(self, messages: Any, *owed: Any) -> AppendResult:
            await asyncio.sleep(0)
            return AppendResult(0, "position")

        def __getattr__(self, name: str) -> Any:
            return getattr(self._log, name)

    host = world.host(chat_log=Refusing(world.storage.chat_log))
    edge = Edge(host, world.clock)
    with pytest.raises(FlowError) as caught:
        await edge.send(DIRECT, ALICE, "x")
    assert caught.value.kind is UNAVAILABLE
    assert caught.value.kind.retryable
    assert host.statistics()["given_up"] == 1
    assert host.statistics()["waiting"] == 0


@pytest.mark.parametrize("seed", range(8))
async def test_two_hosts_that_both_believe_they_own_a_room_make_one_order(world: World, seed: int) -> None:
    """Invariants 1, 2, 3 and 9 with a zombie: nothing acked is lost or repeated; watchers see the log."""
    choice = random.Random(seed)
    limits = HostLimits(decide_attempts=100)
    hosts = [world.host(f"host-{n}", limits=limits) for n in range(2)]
    edges = [Edge(host, world.clock, f"edge-{n}") for n, host in enumerate(hosts)]
    for edge in edges:
        await edge.join(DIRECT, ALICE)

    async def write(edge: Edge, writer: str) -> list[tuple[str, SentMessage]]:
        acked = []
        for n in range(15):
            key = f"{writer}-{n}"
            # A client that is unsure sends again, through either host.
            repeats = choice.choice([[edge], [edge, edge], [edge, *edges]])
            answers = [target.begin_send(DIRECT, ALICE, key, key) for target in repeats]
            acked += [(key, decode(await answer, SentMessage)) for answer in answers]
        return acked

    writers = [write(edges[n % 2], f"w{n}") for n in range(4)]
    acked = [ack for acks in await asyncio.gather(*writers) for ack in acks]
    log = await log_of(world)
    assert [message.seq for message in log] == list(range(1, 61))
    assert sorted(message.text for message in log) == sorted(f"w{w}-{n}" for w in range(4) for n in range(15))
    by_key = {message.client_message_id: message for message in log}
    for key, sent in acked:
        assert (sent.id, sent.seq) == (by_key[key].id, by_key[key].seq)
    for edge in edges:
        # The last word of each host brings its watchers up to date, or tells them to ask.
        await edge.send(DIRECT, BOB, f"{edge.name} is done")
        seen = edge.seqs(DIRECT)
        assert not edge.moved
        assert seen == list(range(1, len(seen) + 1))
        whole = {message.seq: message.text for message in await log_of(world)}
        assert edge.texts(DIRECT) == [whole[seq] for seq in seen]
    assert sum(host.statistics()["reloads"] for host in hosts) > 0
    assert sum(host.statistics()["bugs"] for host in hosts) == 0


async def test_a_host_that_lost_touch_with_the_cluster_serves_nothing(world: World) -> None:
    host = world.host()
    edge = Edge(host, world.clock)
    host.believe_view_until(world.clock.monotonic() + 3.0)
    await edge.send(DIRECT, ALICE, "1")
    world.clock.advance(3.5)
    with pytest.raises(FlowError) as caught:
        await edge.send(DIRECT, ALICE, "2")
    assert caught.value.kind is MOVED
    host.believe_view_until(world.clock.monotonic() + 3.0)
    assert (await edge.send(DIRECT, ALICE, "3")).seq == 2


async def test_a_bug_in_one_room_is_answered_and_harms_no_other(world: World, caplog: pytest.LogCaptureFixture) -> None:
    class Broken:
        """Breaks on messages that say so."""

        def __init__(self, log: Any) -> None:
            self._log = log

        async def append(self, messages: Any, *owed: Any) -> AppendResult:
            if any(message.text == "poison" for message in messages):
                raise ZeroDivisionError
            result: AppendResult = await self._log.append(messages, *owed)
            return result

        def __getattr__(self, name: str) -> Any:
            return getattr(self._log, name)

    host = world.host(chat_log=Broken(world.storage.chat_log))
    edge = Edge(host, world.clock)
    await edge.join(DIRECT, ALICE)
    await edge.join(OTHER, ALICE)
    answers = [edge.begin_send(DIRECT, ALICE, text) for text in ("1", "poison", "2")]
    answers += [edge.begin_send(OTHER, ALICE, text) for text in ("1", "2")]
    results = await asyncio.gather(*answers, return_exceptions=True)
    assert isinstance(results[1], FlowError)
    assert results[1].kind is INTERNAL
    seqs = [decode(raw, SentMessage).seq for raw in results if not isinstance(raw, BaseException)]
    assert seqs == [1, 2, 1, 2]
    assert [message.text for message in await log_of(world)] == ["1", "2"]
    assert host.statistics()["chat_poisoned"] == 1
    assert "ZeroDivisionError" in caplog.text


async def test_an_answer_of_storage_that_cannot_be_stops_no_other_room(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    class Lying:
        """Says once that more was stored than was given."""

        def __init__(self, log: Any) -> None:
            self._log = log
            self.lies = 1

        async def append(self, messages: Any, *owed: Any) -> AppendResult:
            if self.lies:
                self.lies -= 1
                return AppendResult(len(messages) + 1, "position")
            result: AppendResult = await self._log.append(messages, *owed)
            return result

        def __getattr__(self, name: str) -> Any:
            return getattr(self._log, name)

    host = world.host(chat_log=Lying(world.storage.chat_log))
    edge = Edge(host, world.clock)
    await edge.join(DIRECT, ALICE)
    with pytest.raises(FlowError) as caught:
        await edge.send(DIRECT, ALICE, "1")
    assert caught.value.kind is INTERNAL
    assert (await edge.send(DIRECT, ALICE, "2")).seq == 1
    assert (await edge.send(OTHER, ALICE, "3")).seq == 1
    assert host.statistics()["chat_queued_rows"] == 0
    assert "IndexError" in caplog.text


async def test_a_bug_in_the_rules_is_answered_and_the_room_is_read_again(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    host = world.host()
    edge = Edge(host, world.clock)
    await edge.join(DIRECT, ALICE)
    await edge.send(DIRECT, ALICE, "1")
    activation = host._roster.get(DIRECT)
    assert activation is not None

    class Raising:
        """Rules that have gone mad."""

        def __getattr__(self, name: str) -> Any:
            raise ZeroDivisionError(name)

    sane = activation.machine
    activation.machine = Raising()  # type: ignore[assignment]
    failing = edge.begin_send(DIRECT, ALICE, "2")
    await asyncio.sleep(0)
    activation.machine = sane
    with pytest.raises(FlowError) as caught:
        await failing
    assert caught.value.kind is INTERNAL
    assert (await edge.send(DIRECT, ALICE, "3")).seq == 2
    assert host.statistics()["bugs"] == 1
    assert host.statistics()["reloads"] == 1
    assert len(caplog.records) == 1, "logged once"
