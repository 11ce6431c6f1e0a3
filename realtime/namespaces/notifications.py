"""/notifications: what a person is told in the app, and how much of it is unread.

The session owns both. On connecting, the socket watches the session and gets `notification:badge` with the count.
"""

from functools import partial
from typing import Final

from actors.messages import (
    AttachConnection,
    Attached,
    ListNotifications,
    NotificationPage,
    ReadNotification,
    Unread,
)
from cluster.kernel.ids import user_key
from realtime.engine.port import Connection
from realtime.namespaces.common import Answer, Handler, Services, join
from realtime.namespaces.persistence import persist
from realtime.protocol import ConnectRequest, ListNotificationsRequest, ReadNotificationRequest
from realtime.sockets import Person


async def list_page(
    services: Services, connection: Connection, person: Person, request: ListNotificationsRequest
) -> Answer:
    page = await services.router.command(
        person.user_id,
        user_key(person.user_id),
        "session.notifications",
        ListNotifications(before=request.before, limit=request.limit),
        NotificationPage,
        connection=connection.id,
    )
    return Answer({"items": list(page.items), "unread": page.unread, "nextBefore": page.next_before})


async def read(services: Services, connection: Connection, person: Person, request: ReadNotificationRequest) -> Answer:
    reply = await services.router.command(
        person.user_id,
        user_key(person.user_id),
        "session.read",
        ReadNotification(id=request.id),
        Unread,
        connection=connection.id,
    )
    return Answer({"unread": reply.unread})


async def admit(services: Services, connection: Connection, person: Person, request: ConnectRequest) -> None:
    await persist(services, connection, [partial(_watch, services, connection, person)])


async def _watch(services: Services, connection: Connection, person: Person) -> None:
    attached, backlog = await join(
        services,
        connection,
        person,
        user_key(person.user_id),
        "session.attach",
        AttachConnection(),
        Attached,
        lambda reply: (reply.epoch, reply.seq),
        as_connection=person.socket.id,
        timeout_s=services.limits.admission_timeout_s,
    )
    person.socket.is_attached = True
    connection.emit("notification:badge", {"unread": attached.unread})
    for delivery in backlog:
        connection.emit(delivery.name, delivery.body)


HANDLERS: Final[dict[str, Handler]] = {
    "notification:read": read,
    "notification:list": list_page,
}
