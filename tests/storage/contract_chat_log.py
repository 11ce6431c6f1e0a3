"""What every ChatLog must do. A test module subclasses it and gives the fixture `log`."""

import asyncio

import msgspec
import pytest

from cluster.kernel.errors import INVALID_REQUEST, ROOM_NOT_FOUND, FlowError
from cluster.kernel.ids import new_id
from storage.ports import ChatLog
from storage.records import AppendResult, Message, RoomHead, RoomRecord

ROOM = "event:65f0000000000000000000aa"


def message(seq: int, *, room: str = ROOM, epoch: int = 1, **changes: object) -> Message:
    given = {
        "id": new_id(),
        "room_id": room,
        "seq": seq,
        "epoch": epoch,
        "user_id": "anna",
        "text": f"number {seq} ✓",
        "at_ms": 1_700_000_000_000 + seq,
        "client_message_id": new_id(),
    }
    return Message(**(given | changes))  # type: ignore[arg-type]


def following(head: RoomHead, count: int, **changes: object) -> list[Message]:
    """What the owner with this head writes: the first takes the place of its seal."""
    given = {"room": head.room_id, "epoch": head.epoch} | changes
    places = range(head.seq + 1, head.seq + 1 + count)
    first, *others = (message(seq, **given) for seq in places)  # type: ignore[arg-type]
    return [msgspec.structs.replace(first, id=head.sealed_id, first=True), *others]


async def append(log: ChatLog, *messages: Message) -> AppendResult:
    return await log.append(messages, [None] * len(messages))


async def claim(log: ChatLog, room: str = ROOM, window: int = 500) -> RoomHead:
    return await log.claim(room, "event", window, create=True)


class ChatLogContract:
    async def test_a_claim_raises_the_epoch_and_returns_the_newest_messages_in_order(self, log: ChatLog) -> None:
        first = await claim(log, window=3)
        assert (first.room_id, first.epoch, first.seq, first.window) == (ROOM, 1, 0, ())
        sent = following(first, 5)
        assert await append(log, *sent) == AppendResult(5)
        second = await log.claim(ROOM, "event", 3, create=False)
        assert (second.epoch, second.seq, second.window) == (2, 5, tuple(sent[2:]))
        third = await log.claim(ROOM, "event", 3, create=False)
        assert (third.epoch, third.seq, third.window) == (3, 5, tuple(sent[2:]))

    async def test_claims_at_once_all_get_their_own_epoch(self, log: ChatLog) -> None:
        heads = await asyncio.gather(*(claim(log) for _ in range(8)))
        assert sorted(head.epoch for head in heads) == list(range(1, 9))
        newest = max(heads, key=lambda head: head.epoch)
        assert [(await append(log, *following(head, 2))).stored for head in heads] == [
            2 if head is newest else 0 for head in heads
        ]

    async def test_a_room_nobody_made_cannot_be_claimed_without_create(self, log: ChatLog) -> None:
        with pytest.raises(FlowError) as caught:
            await log.claim(ROOM, "group", 10, create=False)
        assert caught.value.kind is ROOM_NOT_FOUND
        assert await log.room(ROOM) is None
        assert (await claim(log)).epoch == 1

    async def test_rooms_are_claimed_together_as_each_alone(self, log: ChatLog) -> None:
        """One that was never claimed, one whose seal nobody has written to, one with messages; none that is not."""
        written, sealed, fresh = (f"event:65f00000000000000000000{one}" for one in (1, 2, 3))
        sent = following(await claim(log, written), 5)
        assert await append(log, *sent) == AppendResult(5)
        await claim(log, sealed)
        await log.create_room(RoomRecord(id=fresh, kind="group", name="", created_by="", created_at_ms=1))
        for again in (1, 2):
            heads = await log.claim_many([written, ROOM, sealed, fresh], 3)
            assert heads.keys() == {written, sealed, fresh}
            assert [(heads[room].room_id, heads[room].epoch) for room in (written, sealed, fresh)] == [
                (written, 1 + again),
                (sealed, 1 + again),
                (fresh, again),
            ]
            assert (heads[written].seq, heads[written].window) == (5, tuple(sent[2:]))
            assert (heads[fresh].seq, heads[fresh].window) == (0, ())
        assert await append(log, message(6, room=written, epoch=1)) == AppendResult(0, "fenced")
        for room in (written, sealed, fresh):
            assert await append(log, *following(heads[room], 2)) == AppendResult(2)
        assert await log.room(ROOM) is None
        assert await log.claim_many([], 3) == {}

    async def test_rooms_that_many_claim_together_have_one_owner_each(self, log: ChatLog) -> None:
        rooms = [f"event:65f00000000000000000000{one}" for one in range(6)]
        for room in rooms[::2]:
            await append(log, *following(await claim(log, room), 2))
        for room in rooms[1::2]:
            await claim(log, room)
        claims = await asyncio.gather(*(log.claim_many(rooms, 3) for _ in range(8)))
        for room in rooms:
            heads = [heads[room] for heads in claims if room in heads]
            assert len({head.epoch for head in heads}) == len(heads)
            owner = await claim(log, room)
            assert all(owner.epoch > head.epoch for head in heads)
            assert {(await append(log, *following(head, 1))).refusal for head in heads} <= {"fenced"}
            assert await append(log, *following(owner, 1)) == AppendResult(1)

    async def test_a_claimed_room_has_a_record(self, log: ChatLog) -> None:
        await claim(log)
        record = await log.room(ROOM)
        assert isinstance(record, RoomRecord)
        assert (record.id, record.kind) == (ROOM, "event")

    async def test_nobody_sees_a_seal(self, log: ChatLog) -> None:
        for count in (0, 2):
            written = following(await claim(log), count) if count else []
            await append(log, *written)
            head = await claim(log, window=2)
            assert list(head.window) == written
            assert await log.after(ROOM, 0, 10) == written
            assert await log.before(ROOM, None, 10) == written
            assert await log.lease_owed("worker", 1, 1, 10) == []

    async def test_an_empty_batch_is_stored(self, log: ChatLog) -> None:
        assert await log.append([], []) == AppendResult(0)

    async def test_the_same_batch_again_changes_nothing(self, log: ChatLog) -> None:
        batch = following(await claim(log), 7)
        assert await append(log, *batch[:4]) == AppendResult(4)
        assert await append(log, *batch) == AppendResult(7)
        assert await append(log, *batch) == AppendResult(7)
        assert await log.after(ROOM, 0, 100) == batch

    async def test_a_stored_message_in_the_middle_counts_as_stored(self, log: ChatLog) -> None:
        batch = following(await claim(log), 5)
        assert await append(log, batch[2]) == AppendResult(1)
        assert await append(log, *batch) == AppendResult(5)
        assert await log.after(ROOM, 0, 100) == batch

    async def test_a_taken_seq_stops_the_batch_there(self, log: ChatLog) -> None:
        head = await claim(log)
        await append(log, message(3))
        assert await append(log, *following(head, 5)) == AppendResult(2, "position")
        assert [stored.seq for stored in await log.after(ROOM, 0, 100)] == [1, 2, 3]

    async def test_a_client_message_id_is_used_once_a_person_and_room(self, log: ChatLog) -> None:
        here, there = await claim(log), await claim(log, "event:65f0000000000000000000bb")
        [first] = following(here, 1, client_message_id="c1")
        await append(log, first)
        batch = [message(2), message(3, client_message_id="c1"), message(4)]
        assert await append(log, *batch) == AppendResult(1, "duplicate")
        assert await append(log, message(3, client_message_id="c1", user_id="ben")) == AppendResult(1)
        assert await append(log, *following(there, 1, client_message_id="c1")) == AppendResult(1)
        assert await log.by_client_message_id(ROOM, "anna", "c1") == first
        assert await log.by_client_message_id(ROOM, "carl", "c1") is None

    async def test_a_first_message_refused_as_a_duplicate_leaves_the_seal_for_another(self, log: ChatLog) -> None:
        await append(log, *following(await claim(log), 1, client_message_id="c1"))
        head = await claim(log)
        assert await append(log, *following(head, 2, client_message_id="c1")) == AppendResult(0, "duplicate")
        assert await append(log, *following(head, 2)) == AppendResult(2)

    async def test_a_taken_seq_is_told_before_a_used_client_message_id(self, log: ChatLog) -> None:
        """An owner whose picture of the room is old must learn that first."""
        await append(log, *following(await claim(log), 1, client_message_id="c1"))
        assert await append(log, message(1, client_message_id="c1")) == AppendResult(0, "position")

    async def test_an_id_stored_at_another_seq_is_a_duplicate(self, log: ChatLog) -> None:
        """Counting it as stored would leave a hole in the room's order."""
        [first] = following(await claim(log), 1)
        await append(log, first)
        again = message(2, id=first.id, client_message_id=first.client_message_id)
        assert await append(log, again) == AppendResult(0, "duplicate")

    # --- the fence ----------------------------------------------------------------------------------------------------

    async def test_an_owner_that_was_replaced_is_fenced(self, log: ChatLog) -> None:
        old, other = await claim(log), await claim(log, "event:65f0000000000000000000bb")
        new = await claim(log)
        assert await append(log, *following(other, 1), *following(old, 1)) == AppendResult(1, "fenced")
        assert await append(log, *following(new, 1)) == AppendResult(1)

    async def test_an_owner_that_was_replaced_in_mid_stream_is_fenced(self, log: ChatLog) -> None:
        batch = following(await claim(log), 5)
        await append(log, *batch[:2])
        head = await claim(log)
        assert list(head.window) == batch[:2]
        assert await append(log, *batch[2:]) == AppendResult(0, "fenced")
        assert await append(log, *batch) == AppendResult(2, "fenced"), "what the new owner has read stays true"
        assert await append(log, *following(head, 1)) == AppendResult(1)
        assert await append(log, *batch) == AppendResult(2, "fenced")

    async def test_a_first_message_is_not_taken_for_another_owners_with_the_same_id(self, log: ChatLog) -> None:
        """The one who takes a seal over has its id: only the whole message says whose it is."""
        old, new = await claim(log), await claim(log)
        [theirs], [ours] = following(old, 1), following(new, 1)
        assert await append(log, ours) == AppendResult(1)
        assert await append(log, theirs) == AppendResult(0, "fenced")
        assert await append(log, msgspec.structs.replace(theirs, id=ours.id)) == AppendResult(0, "fenced")
        same_words = msgspec.structs.replace(ours, epoch=old.epoch)
        assert await append(log, same_words) == AppendResult(0, "fenced")
        assert await log.after(ROOM, 0, 10) == [ours]

    async def test_a_seal_gives_way_to_the_first_message_of_its_owner_alone(self, log: ChatLog) -> None:
        head = await claim(log)
        [first] = following(head, 1)
        for wrong in (
            message(1),
            msgspec.structs.replace(first, first=False, id=new_id()),
            msgspec.structs.replace(first, id=new_id()),
        ):
            assert await append(log, wrong, message(2)) == AppendResult(0, "fenced")
        assert await append(log, first, message(2)) == AppendResult(2)

    async def test_two_owners_at_once_leave_one_dense_order(self, log: ChatLog) -> None:
        old, new = await claim(log), await claim(log)
        results = await asyncio.gather(append(log, *following(old, 20)), append(log, *following(new, 20)))
        assert results == [AppendResult(0, "fenced"), AppendResult(20)]
        assert [one.seq for one in await log.after(ROOM, 0, 100)] == list(range(1, 21))

    async def test_a_room_is_claimed_while_its_owner_writes_without_a_pause(self, log: ChatLog) -> None:
        acked: list[Message] = []
        is_writing = asyncio.Event()

        async def write(head: RoomHead) -> AppendResult:
            batch = following(head, 2_000)
            for start in range(0, len(batch), 2):
                result = await append(log, *batch[start : start + 2])
                acked.extend(batch[start : start + result.stored])
                is_writing.set()
                if result.refusal is not None:
                    return result
            return AppendResult(len(batch))

        head = await claim(log)
        for _ in range(3):
            writer = asyncio.create_task(write(head))
            is_writing.clear()
            await is_writing.wait()
            head = await claim(log)
            assert (await writer).refusal == "fenced"
            assert head.seq == len(acked)
            assert list(head.window) == acked[-500:]

    # --- reading ------------------------------------------------------------------------------------------------------

    async def test_pages_go_both_ways(self, log: ChatLog) -> None:
        sent = following(await claim(log), 10)
        await append(log, *sent)
        assert await log.after(ROOM, 4, 3) == sent[4:7]
        assert await log.after(ROOM, 10, 3) == []
        assert await log.before(ROOM, None, 4) == sent[6:]
        assert await log.before(ROOM, 4, 2) == sent[1:3]
        assert await log.before(ROOM, 1, 2) == []
        assert await log.before("event:65f0000000000000000000ff", None, 2) == []

    async def test_limits_are_limited(self, log: ChatLog) -> None:
        for limit in (0, -1, 501):
            with pytest.raises(FlowError) as caught:
                await log.after(ROOM, 0, limit)
            assert caught.value.kind is INVALID_REQUEST
        with pytest.raises(FlowError):
            await append(log, *(message(seq) for seq in range(1, 502)))
