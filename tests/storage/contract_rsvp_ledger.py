"""What every RsvpLedger must do. A test module subclasses it and gives the fixtures `ledger` and `put_event`."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from msgspec import structs

from cluster.kernel.errors import EVENT_NOT_FOUND, FlowError
from storage.ports import RsvpLedger
from storage.records import AppendResult, Rsvp

EVENT = "65f0000000000000000000aa"
OTHER = "65f0000000000000000000bb"

PutEvent = Callable[..., Awaitable[None]]


def rsvp(
    user: str, status: str = "going", *, event: str = EVENT, epoch: int = 1, at: int = 1,
    seat: int | None = None, place: int | None = None,
) -> Rsvp:  # fmt: skip
    return Rsvp(event_id=event, user_id=user, status=status, epoch=epoch, at_ms=at, seat=seat, place=place)


async def append(ledger: RsvpLedger, *rsvps: Rsvp) -> AppendResult:
    return await ledger.append(rsvps, [False] * len(rsvps))


class RsvpLedgerContract:
    async def test_an_event_nobody_made_cannot_be_claimed(self, ledger: RsvpLedger) -> None:
        with pytest.raises(FlowError) as caught:
            await ledger.claim(EVENT)
        assert caught.value.kind is EVENT_NOT_FOUND

    async def test_a_claim_gives_the_terms_and_raises_the_epoch(self, ledger: RsvpLedger, put_event: PutEvent) -> None:
        await put_event(
            EVENT,
            organizer_id="olga",
            title="Concert ♫",
            visibility="private",
            starts_at_ms=1_800_000_000_123,
            ends_at_ms=1_800_000_100_000,
            capacity=3,
            requirements={"minPoints": 5},
        )
        head = await ledger.claim(EVENT)
        assert (head.event_id, head.epoch, head.organizer_id, head.title) == (EVENT, 1, "olga", "Concert ♫")
        assert (head.visibility, head.capacity, head.requirements) == ("private", 3, {"minPoints": 5})
        assert (head.starts_at_ms, head.ends_at_ms) == (1_800_000_000_123, 1_800_000_100_000)
        assert (head.attending, head.interested, head.taken, head.waiting) == (0, 0, (), ())
        heads = await asyncio.gather(*(ledger.claim(EVENT) for _ in range(5)))
        assert sorted(head.epoch for head in heads) == [2, 3, 4, 5, 6]

    async def test_a_claim_counts_the_answers(self, ledger: RsvpLedger, put_event: PutEvent) -> None:
        await put_event(EVENT, capacity=2)
        await put_event(OTHER)
        await ledger.claim(EVENT)
        answers = [
            rsvp("anna", seat=2),
            rsvp("ben", seat=1),
            rsvp("carl", "waiting", place=9),
            rsvp("dora", "waiting", place=4),
            rsvp("emil", "interested"),
            rsvp("fritz", "declined"),
            rsvp("gina", event=OTHER),
        ]
        assert await append(ledger, *answers) == AppendResult(7)
        head = await ledger.claim(EVENT)
        assert (head.attending, head.interested, head.taken) == (2, 1, (1, 2))
        assert head.waiting == ((4, "dora"), (9, "carl"))
        assert await ledger.going(EVENT, None, 10) == ["anna", "ben"]
        assert await ledger.going(EVENT, "anna", 10) == ["ben"]
        assert (await ledger.claim(OTHER)).attending == 1

    async def test_a_person_has_one_answer_and_the_last_counts(self, ledger: RsvpLedger, put_event: PutEvent) -> None:
        await put_event(EVENT, capacity=1)
        await append(ledger, rsvp("anna", "interested"), rsvp("anna", seat=1, at=2), rsvp("anna", "declined", at=3))
        assert await ledger.rsvp(EVENT, "anna") == rsvp("anna", "declined", at=3)
        assert await ledger.rsvp(EVENT, "ben") is None
        head = await ledger.claim(EVENT)
        assert (head.attending, head.interested, head.taken) == (0, 0, ())

    async def test_a_held_seat_or_place_stops_the_batch_there(self, ledger: RsvpLedger, put_event: PutEvent) -> None:
        await put_event(EVENT, capacity=5)
        await put_event(OTHER)
        await append(ledger, rsvp("anna", seat=1), rsvp("ben", "waiting", place=1))
        batch = [rsvp("carl", seat=2), rsvp("dora", seat=1), rsvp("emil", seat=3)]
        assert await append(ledger, *batch) == AppendResult(1, "position")
        assert await append(ledger, rsvp("dora", "waiting", place=1)) == AppendResult(0, "position")
        assert await append(ledger, rsvp("dora", event=OTHER, seat=1)) == AppendResult(1)
        assert await ledger.rsvp(EVENT, "emil") is None
        assert (await ledger.claim(EVENT)).taken == (1, 2)

    async def test_a_seat_given_on_in_one_batch(self, ledger: RsvpLedger, put_event: PutEvent) -> None:
        await put_event(EVENT, capacity=1)
        await append(ledger, rsvp("anna", seat=1), rsvp("ben", "waiting", place=1))
        batch = [rsvp("anna", "declined", at=2), rsvp("ben", seat=1, at=2), rsvp("anna", "waiting", place=1, at=3)]
        assert await append(ledger, *batch) == AppendResult(3)
        assert await append(ledger, *batch) == AppendResult(3)
        head = await ledger.claim(EVENT)
        assert (head.taken, head.waiting) == ((1,), ((1, "anna"),))

    async def test_a_batch_that_takes_and_gives_a_seat_may_be_written_again(
        self, ledger: RsvpLedger, put_event: PutEvent
    ) -> None:
        """Its first rows cannot be written a second time: the seat has moved on, and that is how it should stay."""
        await put_event(EVENT, capacity=1)
        batch = [
            rsvp("carl", "declined"),
            rsvp("anna", seat=1),
            rsvp("carl", "interested", at=2),
            rsvp("anna", "declined", at=2),
            rsvp("ben", seat=1, at=2),
        ]
        assert await append(ledger, *batch) == AppendResult(5)
        assert await append(ledger, *batch) == AppendResult(5)
        assert [await ledger.rsvp(EVENT, user) for user in ("carl", "anna", "ben")] == batch[2:]

    async def test_an_owner_that_was_replaced_is_fenced(self, ledger: RsvpLedger, put_event: PutEvent) -> None:
        await put_event(EVENT)
        await put_event(OTHER)
        for event in (OTHER, EVENT, EVENT):
            await ledger.claim(event)
        assert await append(ledger, rsvp("anna", event=OTHER), rsvp("anna")) == AppendResult(1, "fenced")
        assert await append(ledger, rsvp("anna", epoch=2)) == AppendResult(1)
        assert await append(ledger, rsvp("anna", "declined", at=9)) == AppendResult(0, "fenced")
        assert await ledger.rsvp(EVENT, "anna") == rsvp("anna", epoch=2)

    async def test_nothing_is_kept_of_what_an_owner_wrote_after_it_was_replaced(
        self, ledger: RsvpLedger, put_event: PutEvent
    ) -> None:
        """Else it would find its own row after claiming again, and acknowledge a place that the owner between has
        given to others, or an answer that one still in the middle writes over."""
        await put_event(EVENT, capacity=1)
        await put_event(OTHER)
        await ledger.claim(OTHER)
        old, new = [await ledger.claim(EVENT) for _ in range(2)]
        assert await append(ledger, rsvp("zoe", "waiting", epoch=new.epoch, place=5)) == AppendResult(1)
        late = rsvp("anna", "waiting", epoch=old.epoch, place=1)
        assert await append(ledger, rsvp("ben", event=OTHER), late, rsvp("carl", event=OTHER)) == AppendResult(
            1, "fenced"
        )
        assert await ledger.rsvp(EVENT, "anna") is None
        assert await ledger.rsvp(OTHER, "ben") == rsvp("ben", event=OTHER)
        assert await ledger.rsvp(OTHER, "carl") is None
        assert (await ledger.claim(EVENT)).waiting == ((5, "zoe"),)

    async def test_claims_and_writes_at_once_lose_nothing_that_was_stored(
        self, ledger: RsvpLedger, put_event: PutEvent
    ) -> None:
        """What is answered as stored is in every later claim; what is not is in none."""
        await put_event(EVENT)
        stored: list[str] = []

        async def own(owner: int) -> None:
            for turn in range(6):
                head = await ledger.claim(EVENT)
                assert set(stored) <= {user for _, user in head.waiting}
                user, place = f"user{owner}-{turn}", 100 * owner + turn
                row = rsvp(user, "waiting", epoch=head.epoch, place=place)
                if await append(ledger, row) == AppendResult(1):
                    stored.append(user)

        await asyncio.gather(*(own(owner) for owner in range(4)))
        assert stored

    async def test_a_row_of_a_newer_epoch_stays(self, ledger: RsvpLedger, put_event: PutEvent) -> None:
        await put_event(EVENT)
        await append(ledger, rsvp("anna", epoch=3))
        assert await append(ledger, rsvp("anna", "declined", epoch=2)) == AppendResult(0, "fenced")
        assert await ledger.rsvp(EVENT, "anna") == rsvp("anna", epoch=3)

    async def test_seats_are_never_oversold_by_owners_at_once(self, ledger: RsvpLedger, put_event: PutEvent) -> None:
        await put_event(EVENT, capacity=5)
        owners = [await ledger.claim(EVENT) for _ in range(4)]

        async def sell(owner: int) -> None:
            for seat in range(1, 6):
                await append(ledger, rsvp(f"user{owner}-{seat}", epoch=owners[owner].epoch, seat=seat))

        await asyncio.gather(*(sell(owner) for owner in range(4)))
        head = await ledger.claim(EVENT)
        assert (head.attending, head.taken) == (5, (1, 2, 3, 4, 5))

    async def test_an_event_that_is_gone_takes_no_answer(self, ledger: RsvpLedger) -> None:
        assert await append(ledger, rsvp("anna")) == AppendResult(0, "fenced")

    async def test_who_was_promoted_is_known_for_it(self, ledger: RsvpLedger, put_event: PutEvent) -> None:
        await put_event(EVENT, capacity=1)
        await ledger.claim(EVENT)
        promoted = structs.replace(rsvp("anna", seat=1), promoted=True)
        assert await ledger.append([promoted], [True]) == AppendResult(1)
        assert await ledger.rsvp(EVENT, "anna") == promoted
        assert [owed.rsvp for owed in await ledger.lease_owed("worker", 1_000, 500, 10)] == [promoted]
        await ledger.settle_owed([rsvp("anna", seat=1)])
        assert [owed.rsvp for owed in await ledger.lease_owed("worker", 2_000, 500, 10)] == [promoted]
        await ledger.settle_owed([promoted])
        assert await ledger.lease_owed("worker", 9_000, 500, 10) == []

    async def test_answers_that_were_replaced_before_they_were_settled_are_not_skipped(
        self, ledger: RsvpLedger, put_event: PutEvent
    ) -> None:
        await put_event(EVENT)
        await ledger.claim(EVENT)
        given = [rsvp("anna", status, at=at) for at, status in enumerate(("interested", "going", "declined"), 1)]
        for one in given:
            assert await ledger.append([one], [True]) == AppendResult(1)
        [owed] = await ledger.lease_owed("worker", 1_000, 500, 10)
        assert (owed.rsvp, owed.earlier) == (given[2], tuple(given[:2]))
        await ledger.settle_owed([given[2]])
        last = rsvp("anna", "going", at=4)
        await ledger.append([last], [True])
        [owed] = await ledger.lease_owed("worker", 9_000, 500, 10)
        assert (owed.rsvp, owed.earlier) == (last, ())
        for at in range(5, 40):
            await ledger.append([rsvp("anna", "going", at=at)], [True])
        [owed] = await ledger.lease_owed("worker", 20_000, 500, 10)
        assert [one.at_ms for one in owed.earlier] == list(range(23, 39)), "sixteen, the newest"

    async def test_owed_news_is_leased_to_one_worker_until_settled(
        self, ledger: RsvpLedger, put_event: PutEvent
    ) -> None:
        await put_event(EVENT)
        answers = [rsvp(f"user{n}", "interested") for n in range(6)]
        await ledger.append(answers, [n % 2 == 0 for n in range(6)])
        pages = await asyncio.gather(*(ledger.lease_owed(f"worker{n}", 1_000, 500, 10) for n in range(3)))
        leased = [owed.rsvp for page in pages for owed in page]
        assert sorted(one.user_id for one in leased) == ["user0", "user2", "user4"]
        assert all(one in answers for one in leased)
        await ledger.settle_owed([answers[0]])
        assert await ledger.lease_owed("late", 1_499, 500, 10) == []
        rest = await ledger.lease_owed("late", 1_500, 500, 10)
        assert sorted(owed.rsvp.user_id for owed in rest) == ["user2", "user4"]

    async def test_settling_an_old_answer_leaves_what_its_replacement_owes(
        self, ledger: RsvpLedger, put_event: PutEvent
    ) -> None:
        await put_event(EVENT)
        old, new = rsvp("anna", "waiting", place=1), rsvp("anna", seat=1, at=2)
        await ledger.append([old], [True])
        await ledger.append([new], [True])
        await ledger.settle_owed([old])
        assert [owed.rsvp for owed in await ledger.lease_owed("worker", 1_000, 500, 10)] == [new]
        await ledger.settle_owed([new])
        assert await ledger.lease_owed("worker", 9_000, 500, 10) == []

    async def test_what_fails_too_often_is_leased_no_more_until_another_answer_replaces_it(
        self, ledger: RsvpLedger, put_event: PutEvent
    ) -> None:
        await put_event(EVENT)
        answer = rsvp("anna", seat=1)
        await ledger.append([answer], [True])
        for failure in range(8):
            [owed] = await ledger.lease_owed("worker", 1_000 * failure, 500, 10)
            await ledger.fail_owed([owed.rsvp], "not_found")
        assert await ledger.lease_owed("worker", 9_000, 500, 10) == []
        new = rsvp("anna", "interested", at=2)
        await ledger.append([new], [True])
        assert [owed.rsvp for owed in await ledger.lease_owed("worker", 9_000, 500, 10)] == [new]
