"""What every ChatLog must do with what messages owe. A test module subclasses it and gives the fixture `log`."""

import asyncio

from storage.ports import ChatLog
from storage.records import AppendResult, Debt, Message, OwedMessage
from tests.storage.contract_chat_log import claim, following


def in_journal(journal: str, *numbers: int) -> list[Debt | None]:
    return [Debt(journal, number) if number else None for number in numbers]


async def put_off(log: ChatLog, count: int) -> list[Message]:
    """Messages that each wait by themselves from the beginning."""
    batch = following(await claim(log), count)
    await log.append(batch, in_journal("j", *range(1, count + 1)))
    await log.put_off_owed([one.id for one in batch], 0)
    return batch


class OwedMessagesContract:
    async def test_a_journal_is_read_in_its_order_between_two_numbers(self, log: ChatLog) -> None:
        batch = following(await claim(log), 6)
        await log.append(batch[:4], in_journal("j", 7, 0, 8, 12))
        await log.append(batch[4:], in_journal("other", 9, 10))
        seven, eight, twelve = (OwedMessage(batch[at], number) for at, number in ((0, 7), (2, 8), (3, 12)))
        assert await log.owed_of("j", 0, None, 10) == [seven, eight, twelve]
        assert await log.owed_of("j", 0, None, 2) == [seven, eight]
        assert await log.owed_of("j", 7, 11, 10) == [eight]
        assert await log.owed_of("j", 12, None, 10) == []
        assert await log.owed_of("nobody", 0, None, 10) == []
        assert await log.lease_owed("worker", 9_000, 500, 10) == [], "its journal answers for it"

    async def test_a_message_keeps_the_number_it_was_first_stored_with(self, log: ChatLog) -> None:
        batch = following(await claim(log), 3)
        await log.append(batch[:2], in_journal("j", 1, 2))
        assert await log.append(batch, in_journal("j", 3, 4, 5)) == AppendResult(3)
        assert [one.number for one in await log.owed_of("j", 0, None, 10)] == [1, 2, 5]

    async def test_what_is_put_off_leaves_its_journal_and_is_leased_when_its_time_comes(self, log: ChatLog) -> None:
        batch = following(await claim(log), 4)
        await log.append(batch, in_journal("j", 1, 2, 3, 0))
        await log.put_off_owed([batch[1].id, batch[3].id], 1_000)
        assert [one.number for one in await log.owed_of("j", 0, None, 10)] == [1, 3]
        assert await log.lease_owed("worker", 999, 500, 10) == []
        assert [one.message for one in await log.lease_owed("worker", 1_000, 500, 10)] == [batch[1]]
        await log.put_off_owed([batch[1].id], 5_000)
        assert await log.lease_owed("worker", 4_999, 500, 10) == []
        assert [one.message for one in await log.lease_owed("worker", 5_000, 500, 10)] == [batch[1]]
        await log.put_off_owed([], 0)

    async def test_what_was_put_off_is_leased_to_one_worker_at_a_time_until_settled(self, log: ChatLog) -> None:
        owing = {one.id for one in await put_off(log, 3)}
        leased = await asyncio.gather(*(log.lease_owed(f"worker{n}", 1_000, 500, 10) for n in range(4)))
        assert sorted(one.message.id for page in leased for one in page) == sorted(owing)
        assert await log.lease_owed("late", 1_499, 500, 10) == []
        again = await log.lease_owed("late", 1_500, 500, 2)
        assert len(again) == 2
        await log.settle_owed([one.message.id for one in again])
        rest = await log.lease_owed("last", 10_000, 500, 10)
        assert {one.message.id for one in rest} == owing - {one.message.id for one in again}

    async def test_a_repeated_append_does_not_owe_again(self, log: ChatLog) -> None:
        batch = await put_off(log, 1)
        await log.settle_owed([batch[0].id])
        assert await log.append(batch, in_journal("j", 2)) == AppendResult(1)
        await log.put_off_owed([batch[0].id], 0)
        assert await log.lease_owed("worker", 1_000, 500, 10) == []
        assert await log.owed_of("j", 0, None, 10) == []

    async def test_what_fails_too_often_is_leased_no_more(self, log: ChatLog) -> None:
        batch = await put_off(log, 2)
        for failure in range(8):
            leased = await log.lease_owed("worker", 1_000 * failure, 500, 10)
            assert {one.message.id for one in leased} == {one.id for one in batch}, f"after {failure}"
            await log.fail_owed([batch[0].id], "not_found")
        assert [one.message for one in await log.lease_owed("worker", 9_000, 500, 10)] == batch[1:]
        await log.put_off_owed([batch[0].id], 0)
        assert [one.message for one in await log.lease_owed("worker", 10_000, 500, 10)] == batch[1:], "it is dead"
        await log.fail_owed([], "not_found")
