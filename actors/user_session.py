"""The rules of one person's session: which sockets are theirs, what is unread, and whether a notification reached them.

The host drives it (actors.runner). It promises that a notification's id is taken once, and that a snapshot (the unread
count) with the fan-outs after it equals a fresh snapshot. The revision (`seq`) starts at 0 with each epoch and grows by
one with each fan-out. Which sockets live is told by edges and is never stored. Never I/O, clock or randomness.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec

from actors.effects import DONE, Effects, Envelope, FanOut, Row
from actors.facts import Fact, Facts, MarkedRead, NotificationsPage
from actors.limits import RoomLimits
from actors.messages import (
    AttachConnection,
    Attached,
    DetachConnection,
    ListNotifications,
    NotificationPage,
    Notified,
    Notify,
    Position,
    ReadNotification,
    Resumed,
    Unread,
)
from cluster.kernel.errors import FORBIDDEN, INVALID_REQUEST, OVERLOADED, TOO_LARGE, FlowError
from storage.records import Notification

_MAX_PAGE: Final = 100


class EdgeLost(msgspec.Struct, frozen=True):
    """The host's own command: the envelope's edge is gone, and the sockets on it."""


class UserSession:
    """The state of one session and its `Machine`."""

    __slots__ = ("connections", "epoch", "key", "limits", "revision", "told", "unread", "user_id")

    def __init__(self, user_id: str, epoch: int, unread: int, limits: RoomLimits) -> None:
        self.user_id = user_id
        self.key = f"user/{user_id}"
        self.epoch = epoch
        self.unread = unread
        self.limits = limits
        self.revision = 0
        self.connections: set[tuple[str, str]] = set()
        """(edge, connection) of each live socket."""
        self.told: dict[str, bool] = {}
        """Notifications by id, and whether a socket was live when each came; the oldest first."""

    @property
    def seq(self) -> int:
        return self.revision

    # --- asking -------------------------------------------------------------------------------------------------------

    def facts_needed(self, envelope: Envelope, facts: Facts) -> Sequence[Fact]:
        body = envelope.body
        if type(body) is ListNotifications:
            self._check_own(envelope)
            if not 1 <= body.limit <= _MAX_PAGE:
                raise FlowError(INVALID_REQUEST, f"limit must be 1 to {_MAX_PAGE}.", fields=("limit",))
            page = NotificationsPage(self.user_id, body.before, body.limit)
            return () if page in facts else (page,)
        if type(body) is ReadNotification:
            self._check_own(envelope)
            read = MarkedRead(self.user_id, body.id)
            return () if read in facts else (read,)
        return ()

    def _check_own(self, envelope: Envelope) -> None:
        if envelope.user != self.user_id:
            raise FlowError(FORBIDDEN)

    # --- deciding -----------------------------------------------------------------------------------------------------

    def decide(self, envelope: Envelope, facts: Facts) -> Effects:
        return _DECISIONS[type(envelope.body)](self, envelope, facts)

    def attach(self, envelope: Envelope, facts: Facts) -> Effects:
        self._check_own(envelope)
        connection = (envelope.edge, envelope.connection)
        if connection not in self.connections and len(self.connections) >= self.limits.max_connections_a_session:
            raise FlowError(OVERLOADED, "This person has too many connections.")
        self.connections.add(connection)
        return Effects(Attached(epoch=self.epoch, seq=self.revision, unread=self.unread))

    def detach(self, envelope: Envelope, facts: Facts) -> Effects:
        self.connections.discard((envelope.edge, envelope.connection))
        return Effects(DONE, ungated=True)

    def lose_edge(self, envelope: Envelope, facts: Facts) -> Effects:
        self.connections = {(edge, connection) for edge, connection in self.connections if edge != envelope.edge}
        return Effects(DONE, ungated=True)

    def notify(self, envelope: Envelope, facts: Facts) -> Effects:
        body: Notify = envelope.body
        if len(body.title) + len(body.body) > self.limits.max_notification_characters:
            raise FlowError(TOO_LARGE, fields=("title", "body"))
        known = self.told.get(body.id)
        if known is not None or envelope.duplicate:
            # Stored before this epoch: whether it was told live is not known, and a push twice beats no push.
            return Effects(Notified(live=bool(known), unread=self.unread))
        notification = Notification(
            id=body.id,
            user_id=self.user_id,
            type=body.type,
            title=body.title,
            body=body.body,
            data=body.data,
            at_ms=envelope.now_ms,
            epoch=self.epoch,
        )
        self.unread += 1
        live = self.is_live()
        self.told[body.id] = live
        if len(self.told) > self.limits.known_notifications:
            del self.told[next(iter(self.told))]
        fan_outs = (self._next("notification:new", wire_notification(notification)), self._badge())
        return Effects(Notified(live=live, unread=self.unread), (notification,), (False,), fan_outs)

    def list_page(self, envelope: Envelope, facts: Facts) -> Effects:
        body: ListNotifications = envelope.body
        page: list[Notification] = facts[NotificationsPage(self.user_id, body.before, body.limit)]
        return Effects(
            NotificationPage(
                items=tuple(wire_notification(notification) for notification in page),
                unread=self.unread,
                next_before=page[-1].id if len(page) == body.limit else None,
            )
        )

    def read(self, envelope: Envelope, facts: Facts) -> Effects:
        was_unread: bool = facts[MarkedRead(self.user_id, envelope.body.id)]
        if not was_unread:
            return Effects(Unread(unread=self.unread))
        self.unread = max(0, self.unread - 1)
        return Effects(Unread(unread=self.unread), fan_outs=(self._badge(),))

    def resume(self, envelope: Envelope, facts: Facts) -> Effects:
        position: Position = envelope.body
        is_current = position.epoch == self.epoch and position.seq == self.revision
        missed = () if is_current else (self._delivery("notification:badge", {"unread": self.unread}, self.revision),)
        return Effects(Resumed(key=self.key, epoch=self.epoch, seq=self.revision, missed=missed, reset=not is_current))

    # --- telling ------------------------------------------------------------------------------------------------------

    def _badge(self) -> FanOut:
        return self._next("notification:badge", {"unread": self.unread})

    def _next(self, name: str, body: dict[str, Any]) -> FanOut:
        self.revision += 1
        return self._delivery(name, body, self.revision)

    def _delivery(self, name: str, body: dict[str, Any], revision: int) -> FanOut:
        return FanOut(key=self.key, name=name, body=body, epoch=self.epoch, seq=revision)

    # --- life ---------------------------------------------------------------------------------------------------------

    def is_live(self) -> bool:
        return bool(self.connections)

    def is_unsettled(self, now_ms: int) -> bool:
        return False

    def roll_back(self, refused: Row) -> bool:
        return False

    def inherit(self, before: "UserSession") -> None:
        self.connections = before.connections

    def catch_up(self, seq: int) -> Sequence[FanOut] | None:
        return None

    def trim(self) -> None:
        if len(self.told) > self.limits.idle_known_notifications:
            self.told = dict(list(self.told.items())[-self.limits.idle_known_notifications :])


def wire_notification(notification: Notification) -> dict[str, Any]:
    """The body of `notification:new`, and an item of a list."""
    return {
        "id": notification.id,
        "type": notification.type,
        "title": notification.title,
        "body": notification.body,
        "data": notification.data,
        "ts": notification.at_ms,
        "read": notification.read,
    }


_DECISIONS: Final[dict[type[Any], Callable[[UserSession, Envelope, Facts], Effects]]] = {
    AttachConnection: UserSession.attach,
    DetachConnection: UserSession.detach,
    EdgeLost: UserSession.lose_edge,
    Notify: UserSession.notify,
    ListNotifications: UserSession.list_page,
    ReadNotification: UserSession.read,
    Position: UserSession.resume,
}
