"""From an outbox row and a device to the Firebase message: pure, and within FCM's limits.

The shape is the mobile clients' own: notification title and body; data `eventId`, `type`, `timestamp` and what else the
cause carries, all strings; Android channel `event_updates`, high priority, default sound; APNs default sound and the
unread count as badge. Limits: https://firebase.google.com/docs/cloud-messaging/send-message (payload of 4,096 bytes).
"""

import hashlib
from typing import Any, Final

from firebase_admin import messaging

from storage.records import Device, OutboxRow

ANDROID_CHANNEL: Final = "event_updates"
TITLE_CHARACTERS: Final = 120
BODY_CHARACTERS: Final = 300
DATA_BYTES: Final = 2_048
TIME_TO_LIVE_S: Final = 7 * 24 * 3600
_APNS_COLLAPSE_BYTES: Final = 64


def message(row: OutboxRow, device: Device, sent_at_ms: int) -> messaging.Message:
    """The message for one device. Text past the limits is cut with an ellipsis, data past them is left out."""
    title, body = _cut(row.title, TITLE_CHARACTERS), _cut(row.body, BODY_CHARACTERS)
    return _addressed(
        device,
        notification=messaging.Notification(title=title, body=body),
        data=_bounded({**row.data, "notificationId": row.notification_id, "timestamp": str(sent_at_ms)}),
        android=messaging.AndroidConfig(
            collapse_key=row.collapse_key or None,
            priority="high",
            ttl=TIME_TO_LIVE_S,
            notification=messaging.AndroidNotification(
                channel_id=ANDROID_CHANNEL,
                priority="high",
                default_sound=True,
                tag=row.collapse_key or None,
            ),
        ),
        apns=messaging.APNSConfig(
            headers=_apns_headers(row, sent_at_ms),
            payload=messaging.APNSPayload(
                aps=messaging.Aps(sound="default", badge=row.badge, thread_id=row.collapse_key or None)
            ),
        ),
    )


def _addressed(device: Device, **parts: Any) -> messaging.Message:
    built = messaging.Message(**parts)
    if device.kind == "fid":
        built.fid = device.value
    else:
        # Set, not passed: passing a token warns that installation ids replace them, and most clients still send tokens.
        built.token = device.value
    return built


def _apns_headers(row: OutboxRow, sent_at_ms: int) -> dict[str, str]:
    headers = {
        "apns-push-type": "alert",
        "apns-priority": "10",
        "apns-expiration": str(sent_at_ms // 1000 + TIME_TO_LIVE_S),
    }
    if row.collapse_key:
        key = row.collapse_key
        if len(key.encode()) > _APNS_COLLAPSE_BYTES:
            key = hashlib.blake2b(key.encode(), digest_size=16).hexdigest()
        headers["apns-collapse-id"] = key
    return headers


def _cut(text: str, characters: int) -> str:
    return text if len(text) <= characters else text[: characters - 1] + "…"


def _bounded(data: dict[str, str]) -> dict[str, str]:
    kept: dict[str, str] = {}
    room = DATA_BYTES
    for name, value in data.items():
        room -= len(name.encode()) + len(value.encode())
        if room < 0:
            break
        kept[name] = value
    return kept
