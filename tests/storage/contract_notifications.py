"""What every Notifications must do. A test module subclasses it; its fixtures are `notifications` and `put_user`."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from cluster.kernel.errors import INVALID_REQUEST, NOT_FOUND, FlowError
from storage.ports import Notifications
from storage.records import AppendResult, Notification, SessionHead

PutUser = Callable[[str], Awaitable[None]]


def notification(id_: str, *, user: str = "anna", at: int = 1) -> Notification:
    return Notification(
        id=id_, user_id=user, type="message", title="Hello", body="Body ✓", data={"room": "r"}, at_ms=at, epoch=1
    )


class NotificationsContract:
    async def test_a_claim_raises_the_epoch_and_counts_the_unread(
        self, notifications: Notifications, put_user: PutUser
    ) -> None:
        await put_user("anna")
        first = await notifications.claim(["anna"])
        assert first == {"anna": SessionHead(user_id="anna", epoch=1, unread=0)}
        await notifications.append([notification("n1"), notification("n2"), notification("n3", user="ben")])
        assert await notifications.mark_read("anna", "n1")
        (second,) = (await notifications.claim(["anna"])).values()
        assert (second.epoch, second.unread) == (2, 1)

    async def test_many_are_claimed_at_once_and_each_counts_for_itself(
        self, notifications: Notifications, put_user: PutUser
    ) -> None:
        for user in ("anna", "ben", "carl"):
            await put_user(user)
        assert await notifications.claim([]) == {}
        await notifications.claim(["ben"])
        await notifications.append([notification("n1"), notification("n2", user="carl"), notification("n3")])
        heads = await notifications.claim(["anna", "nobody", "ben", "anna", "carl"])
        assert {user: (head.user_id, head.epoch, head.unread) for user, head in heads.items()} == {
            "anna": ("anna", 1, 2),
            "ben": ("ben", 2, 0),
            "carl": ("carl", 1, 1),
        }
        with pytest.raises(FlowError) as caught:
            await notifications.claim([f"user{number}" for number in range(501)])
        assert caught.value.kind is INVALID_REQUEST

    async def test_claims_of_the_same_people_at_the_same_time_never_share_an_epoch(
        self, notifications: Notifications, put_user: PutUser
    ) -> None:
        people = [f"user{number}" for number in range(20)]
        for user in people:
            await put_user(user)
        claimed = await asyncio.gather(*(notifications.claim(people) for _ in range(8)))
        after = await notifications.claim(people)
        for user in people:
            epochs = {heads[user].epoch for heads in claimed}
            assert len(epochs) == 8
            assert after[user].epoch > max(epochs)

    async def test_who_does_not_exist_is_not_claimed(self, notifications: Notifications) -> None:
        assert await notifications.claim(["nobody"]) == {}

    async def test_the_same_id_is_a_duplicate(self, notifications: Notifications) -> None:
        assert await notifications.append([]) == AppendResult(0)
        assert await notifications.append([notification("n1"), notification("n2")]) == AppendResult(2)
        again = [notification("n0"), notification("n2"), notification("n3")]
        assert await notifications.append(again) == AppendResult(1, "duplicate")
        assert await notifications.unread("anna") == 3

    async def test_pages_go_from_new_to_old_through_equal_times(self, notifications: Notifications) -> None:
        rows = [notification(f"n{n}", at=n // 3) for n in range(10)]
        await notifications.append(rows)
        await notifications.append([notification("other", user="ben", at=2)])
        seen: list[Notification] = []
        while page := await notifications.page("anna", seen[-1].id if seen else None, 4):
            seen += page
        assert seen == rows[::-1]
        with pytest.raises(FlowError) as caught:
            await notifications.page("anna", "other", 4)
        assert caught.value.kind is INVALID_REQUEST

    async def test_reading_counts_once_and_only_ones_own(self, notifications: Notifications) -> None:
        await notifications.append([notification("n1"), notification("n2", user="ben")])
        assert await notifications.mark_read("anna", "n1") is True
        assert await notifications.mark_read("anna", "n1") is False
        for foreign in ("n2", "n9"):
            with pytest.raises(FlowError) as caught:
                await notifications.mark_read("anna", foreign)
            assert caught.value.kind is NOT_FOUND
        assert (await notifications.unread("anna"), await notifications.unread("ben")) == (0, 1)
        assert [row.read for row in await notifications.page("anna", None, 10)] == [True]
