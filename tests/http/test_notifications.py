"""The list of notifications and the read mark."""

import pytest

from actors.messages import ReadNotification, Unread
from cluster.kernel.errors import NOT_FOUND, FlowError
from storage.records import Notification
from tests.http.harness import Api, Someone

pytestmark = pytest.mark.storage


async def notify(api: Api, who: Someone, count: int) -> list[str]:
    """Their ids, newest first; every third comes in the same millisecond as the one before."""
    notifications = [
        Notification(
            id=f"{who.id}-{n:03}",
            user_id=who.id,
            type="chat_message",
            title="Ada",
            body=f"message {n}",
            data={"roomId": "f" * 24},
            at_ms=api.clock.now_ms() + n - (n % 3 == 2),
            read=n % 2 == 0,
        )
        for n in range(count)
    ]
    assert (await api.context.storage.notifications.append(notifications)).stored == count
    return [one.id for one in sorted(notifications, key=lambda one: (one.at_ms, one.id), reverse=True)]


async def test_notifications_are_walked_newest_first_and_only_ones_own(api: Api) -> None:
    ada, bob = await api.someone(), await api.someone()
    ids = await notify(api, ada, 11)
    _ = await notify(api, bob, 3)
    for limit in (1, 2, 3, 11, 100):
        walked = await api.walk("/v1/notifications", who=ada, limit=limit)
        assert [item["id"] for item in walked] == ids
    assert (await api.call("GET", "/v1/notifications", who=ada, params={"limit": 11})).body["next"] is None
    page = await api.call("GET", "/v1/notifications", who=ada, params={"limit": 1})
    assert page.body["unread"] == 5
    assert page.body["items"][0] == {
        "id": ids[0],
        "type": "chat_message",
        "title": "Ada",
        "body": "message 10",
        "data": {"roomId": "f" * 24},
        "ts": api.clock.now_ms() + 10,
        "read": True,
    }
    others = await api.call("GET", "/v1/notifications", who=bob, params={"cursor": ids[3]})
    assert others.code == "invalid_request"


async def test_a_read_mark_goes_through_the_session(api: Api) -> None:
    ada = await api.someone()
    api.router.answers["session.read"] = Unread(unread=4)
    read = await api.call("POST", "/v1/notifications/some-cause:1/read", who=ada)
    assert read.body == {"unread": 4}
    [sent] = api.router.sent
    assert (sent.user_id, sent.key, sent.body) == (ada.id, f"user/{ada.id}", ReadNotification(id="some-cause:1"))


async def test_a_notification_of_somebody_else_is_not_found(api: Api) -> None:
    ada = await api.someone()
    api.router.answers["session.read"] = FlowError(NOT_FOUND)
    assert (await api.call("POST", "/v1/notifications/x/read", who=ada)).status == 404
    assert (await api.call("POST", f"/v1/notifications/{'x' * 129}/read", who=ada)).status == 404
    assert len(api.router.sent) == 1
