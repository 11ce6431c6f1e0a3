"""In-app notifications: the list and the read mark. New ones come over the socket or as a push."""

import asyncio
from typing import Annotated

import msgspec
from msgspec import Meta

from actors.messages import ReadNotification, Unread
from actors.user_session import wire_notification
from cluster.kernel.errors import NOT_FOUND, FlowError
from cluster.kernel.ids import user_key
from realtime.http.fields import DEFAULT_PAGE, Answer, Cursor, Nothing, PageLimit, Strict
from realtime.http.operations import AnyOperation, Call, Operation

_MAX_ID = 128


class NotificationQuery(Strict, frozen=True):
    limit: PageLimit = DEFAULT_PAGE
    cursor: Cursor | None = None


class NotificationItem(Answer, frozen=True):
    """As `notification:new` says it. `ts` is in milliseconds since the epoch."""

    id: str
    type: str
    title: str
    body: str
    data: dict[str, str]
    ts: int
    read: bool


class NotificationList(Answer, frozen=True):
    """Newest first. `unread` counts all of them, not those of this page."""

    items: tuple[NotificationItem, ...]
    next: str | None
    unread: Annotated[int, Meta(ge=0)]


class UnreadCount(Answer, frozen=True):
    unread: int


async def read_page(call: Call[Nothing, NotificationQuery]) -> NotificationList:
    notifications, user_id, limit = call.context.storage.notifications, call.caller.user_id, call.query.limit
    rows, unread = await asyncio.gather(
        notifications.page(user_id, call.query.cursor, limit + 1), notifications.unread(user_id)
    )
    items = msgspec.convert([wire_notification(row) for row in rows[:limit]], tuple[NotificationItem, ...])
    return NotificationList(items=items, next=rows[limit - 1].id if len(rows) > limit else None, unread=unread)


async def mark_read(call: Call[Nothing, Nothing]) -> UnreadCount:
    """Goes through the person's session, so that their sockets get the new badge."""
    notification_id = call.path["notificationId"]
    if len(notification_id) > _MAX_ID:
        raise FlowError(NOT_FOUND)
    answer = await call.context.router.command(
        call.caller.user_id,
        user_key(call.caller.user_id),
        "session.read",
        ReadNotification(id=notification_id),
        Unread,
        timeout_s=call.context.settings.command_timeout_s,
    )
    return UnreadCount(unread=answer.unread)


OPERATIONS: tuple[AnyOperation, ...] = (
    Operation(
        method="GET",
        path="/v1/notifications",
        summary="Your notifications, the newest first.",
        tag="Notifications",
        handle=read_page,
        body=Nothing,
        query=NotificationQuery,
        reply=NotificationList,
    ),
    Operation(
        method="POST",
        path="/v1/notifications/{notificationId}/read",
        summary="Mark a notification as read.",
        tag="Notifications",
        handle=mark_read,
        body=Nothing,
        query=Nothing,
        reply=UnreadCount,
        errors=(NOT_FOUND,),
    ),
)
