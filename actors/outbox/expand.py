"""From a cause and a person to a notification and its push rows: pure, with ids that follow from the cause alone."""

import hashlib
from collections.abc import Sequence
from typing import NamedTuple

from actors.messages import Notify
from actors.outbox.texts import Text
from storage.records import Device, OutboxRow


def notification_id(cause: str, user_id: str) -> str:
    """24 hexadecimal characters: the same cause and person always give the same id."""
    return hashlib.blake2b(f"{cause}\0{user_id}".encode(), digest_size=12).hexdigest()


class Recipient(NamedTuple):
    user_id: str
    notification_id: str

    def notify(self, text: Text) -> Notify:
        return Notify(id=self.notification_id, type=text.type, title=text.title, body=text.body, data=text.data)


def rows_for(recipient: Recipient, text: Text, devices: Sequence[Device], unread: int, now_ms: int) -> list[OutboxRow]:
    """One row a device; the row's id is the dedupe key of that push."""
    return [
        OutboxRow(
            id=f"{recipient.notification_id}:{device.id}",
            user_id=recipient.user_id,
            device_id=device.id,
            notification_id=recipient.notification_id,
            title=text.title,
            body=text.body,
            data=text.data,
            collapse_key=text.collapse_key,
            badge=unread,
            due_ms=now_ms,
        )
        for device in devices
    ]
