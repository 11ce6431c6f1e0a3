"""What every Journals must do. A test module subclasses it and gives the fixture `journals`."""

import asyncio

from storage.ports import Journals


class JournalsContract:
    async def test_a_journal_is_its_hosts_until_it_is_not_renewed(self, journals: Journals) -> None:
        assert await journals.lease_lapsed("worker", 9_000, 500) is None
        await journals.renew("j", 0, 1_000, 2_000)
        await journals.renew("j", 7, 1_500, 2_500)
        assert await journals.lease_lapsed("worker", 2_499, 500) is None
        mark = await journals.lease_lapsed("worker", 2_500, 500)
        assert mark is not None
        assert (mark.journal, mark.settled, mark.renewed_ms) == ("j", 7, 1_500)

    async def test_one_worker_has_it_at_a_time(self, journals: Journals) -> None:
        await journals.renew("j", 0, 0, 0)
        leased = await asyncio.gather(*(journals.lease_lapsed(f"worker{n}", 1_000, 500) for n in range(6)))
        [mark] = [one for one in leased if one is not None]
        assert await journals.lease_lapsed("late", 1_499, 500) is None
        assert await journals.advance(mark, 5, 3_000)
        assert await journals.lease_lapsed("late", 2_999, 500) is None
        later = await journals.lease_lapsed("late", 3_000, 500)
        assert later is not None
        assert later.settled == 5
        assert not await journals.advance(mark, 6, 9_000)
        assert await journals.advance(later, 6, 9_000)

    async def test_each_lapsed_one_has_its_turn(self, journals: Journals) -> None:
        for number in range(3):
            await journals.renew(f"j{number}", number, 0, 100 - number)
        taken = [await journals.lease_lapsed("worker", 200, 500) for _ in range(4)]
        assert [one and one.journal for one in taken] == ["j2", "j1", "j0", None]

    async def test_its_host_takes_it_back(self, journals: Journals) -> None:
        await journals.renew("j", 3, 0, 0)
        mark = await journals.lease_lapsed("worker", 1_000, 500)
        assert mark is not None
        await journals.renew("j", 4, 1_100, 2_000)
        assert not await journals.advance(mark, 9, 8_000)
        again = await journals.lease_lapsed("worker", 2_000, 500)
        assert again is not None
        assert (again.settled, again.renewed_ms) == (4, 1_100)
