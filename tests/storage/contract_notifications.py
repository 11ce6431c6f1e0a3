"""What every Notifications must do. A test module subclasses it; its fixtures are `notifications` and `put_user`."""

from collections.abc import Awaitable, Callable

import pytest

from cluster.kernel.errors import INVALID_REQUEST, NOT_FOUND, FlowError
from storage.ports import Notifications
from storage.records import AppendResult, Notification

PutUser = Callable[[str], Awaitable[None]]


def notification(id_: str, *, user: str = "anna", at: int = 1) -> Notification:
    return Notification(
        id=id_, user_id=user, type="message", title="Hello", body="Body ✓", data={"room": "r"}, at_ms=at, epoch=1
    )


class NotificationsContract:
    async def test_what_a_person_has_not_read_is_counted_again_each_time(
        self, notifications: Notifications, put_user: PutUser
    ) -> None:
        await put_user("anna")
        assert await notifications.unread_of(["anna"]) == {"anna": 0}
        await notifications.append([notification("n1"), notification("n2"), notification("n3", user="ben")])
        assert await notifications.unread_of(["anna"]) == {"anna": 2}
        assert await notifications.mark_read("anna", "n1")
        assert await notifications.unread_of(["anna"]) == {"anna": 1} == {"anna": await notifications.unread("anna")}

    async def test_many_are_counted_at_once_and_each_for_itself(
        self, notifications: Notifications, put_user: PutUser
    ) -> None:
        for user in ("anna", "ben", "carl"):
            await put_user(user)
        assert await notifications.unread_of([]) == {}
        await notifications.append([notification("n1"), notification("n2", user="carl"), notification("n3")])
        unread = await notifications.unread_of(["anna", "nobody", "ben", "anna", "carl"])
        assert unread == {"anna": 2, "ben": 0, "carl": 1}

    async def test_as_many_as_a_batch_holds_and_no_more(self, notifications: Notifications, put_user: PutUser) -> None:
        people = [f"user{number}" for number in range(501)]
        for user in people[:500]:
            await put_user(user)
        await notifications.append([notification(f"n{user}", user=user) for user in people[:500]])
        assert await notifications.unread_of(people[:500]) == dict.fromkeys(people[:500], 1)
        with pytest.raises(FlowError) as caught:
            await notifications.unread_of(people)
        assert caught.value.kind is INVALID_REQUEST

    async def test_who_does_not_exist_is_left_out_whatever_is_kept_for_them(self, notifications: Notifications) -> None:
        await notifications.append([notification("n1", user="nobody")])
        assert await notifications.unread_of(["nobody"]) == {}

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
