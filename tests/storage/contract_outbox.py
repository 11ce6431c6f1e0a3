"""What every Outbox must do. A test module subclasses it and gives the fixture `outbox`."""

import asyncio

from storage.ports import Outbox
from storage.records import OutboxRow


def row(id_: str, *, due: int = 0) -> OutboxRow:
    return OutboxRow(
        id=id_,
        user_id="anna",
        device_id="device",
        notification_id="n",
        title="Hello",
        body="Body ✓",
        data={"a": "b"},
        collapse_key="room",
        badge=3,
        due_ms=due,
    )


async def lease_ids(outbox: Outbox, now_ms: int, limit: int = 10) -> list[str]:
    return [leased.id for leased in await outbox.lease("worker", now_ms, 500, limit)]


class OutboxContract:
    async def test_rows_are_added_once(self, outbox: Outbox) -> None:
        assert await outbox.add([]) == 0
        assert await outbox.add([row("a"), row("b")]) == 2
        assert await outbox.add([row("b"), row("c"), row("a")]) == 1
        await outbox.sent(["a"], 1_000)
        await outbox.bury("b", "gone", 1_000)
        assert await outbox.add([row("a"), row("b"), row("c")]) == 0
        assert await outbox.statistics() == {"pending": 1, "leased": 0, "sent": 1, "dead": 1}

    async def test_due_rows_are_leased_once_oldest_first(self, outbox: Outbox) -> None:
        await outbox.add([row("a", due=30), row("b", due=10), row("c", due=20), row("d", due=99_999)])
        assert await lease_ids(outbox, 1_000, 2) == ["b", "c"]
        assert await lease_ids(outbox, 1_000) == ["a"]
        assert await lease_ids(outbox, 1_499) == []
        assert sorted(await lease_ids(outbox, 1_500)) == ["a", "b", "c"]

    async def test_a_leased_row_comes_back_as_it_went_in(self, outbox: Outbox) -> None:
        await outbox.add([row("a", due=5)])
        (leased,) = await outbox.lease("worker", 1_000, 500, 1)
        assert (leased.title, leased.body, leased.data, leased.badge) == ("Hello", "Body ✓", {"a": "b"}, 3)
        assert (leased.state, leased.attempts, leased.device_id) == ("leased", 0, "device")

    async def test_workers_at_once_share_the_rows(self, outbox: Outbox) -> None:
        await outbox.add([row(f"r{n:03}") for n in range(60)])
        pages = await asyncio.gather(*(outbox.lease(f"worker{n}", 1_000, 500, 20) for n in range(6)))
        ids = [leased.id for page in pages for leased in page]
        assert len(ids) == len(set(ids))
        while page := await lease_ids(outbox, 1_000):
            ids += page
        assert sorted(ids) == [f"r{n:03}" for n in range(60)]

    async def test_a_retry_waits_and_counts(self, outbox: Outbox) -> None:
        await outbox.add([row("a")])
        await lease_ids(outbox, 1_000)
        await outbox.retry("a", 5_000, "busy")
        assert await lease_ids(outbox, 4_999) == []
        (leased,) = await outbox.lease("worker", 5_000, 500, 1)
        assert (leased.attempts, leased.last_error) == (1, "busy")

    async def test_what_was_sent_is_not_retried(self, outbox: Outbox) -> None:
        await outbox.add([row("a")])
        await outbox.sent(["a"], 1_000)
        await outbox.retry("a", 1_000, "late")
        assert await lease_ids(outbox, 9_000) == []

    async def test_the_dead_are_listed_and_replayed(self, outbox: Outbox) -> None:
        await outbox.add([row(name) for name in "abcd"])
        for name in "abc":
            await outbox.retry(name, 0, "busy")
            await outbox.bury(name, "gone", 1_000)
        assert [dead.id for dead in await outbox.dead(None, 2)] == ["a", "b"]
        (last,) = await outbox.dead("b", 2)
        assert (last.id, last.state, last.last_error, last.attempts) == ("c", "dead", "gone", 1)
        assert await outbox.replay(["a", "c", "d", "nothing"], 7_000) == 2
        assert await outbox.statistics() == {"pending": 3, "leased": 0, "sent": 0, "dead": 1}
        replayed = await outbox.lease("worker", 7_000, 500, 10)
        assert {one.id: one.attempts for one in replayed} == {"a": 0, "c": 0, "d": 0}
