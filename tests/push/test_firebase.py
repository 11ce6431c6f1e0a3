"""FCM through firebase-admin against a stand-in server: the body that arrives, and what each answer means."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from actors.push.firebase import FirebaseSender
from actors.push.port import Outcome, Push
from cluster.kernel.clock import ManualClock
from storage.records import Device, OutboxRow
from tests.support.fake_fcm import FakeFcm, Scripted


def row(**changes: Any) -> OutboxRow:
    values: dict[str, Any] = {
        "id": "n1:d1",
        "user_id": "u1",
        "device_id": "d1",
        "notification_id": "n1",
        "title": "Ada in Jazz night",
        "body": "see you there",
        "data": {"type": "chat_message", "roomId": "event:e1", "eventId": "e1"},
        "collapse_key": "room:event:e1",
        "badge": 3,
    }
    return OutboxRow(**{**values, **changes})


def device(value: str = "token-1", kind: str = "token") -> Device:
    return Device(id="d1", user_id="u1", kind=kind, value=value, platform="android", last_seen_ms=0)


@pytest.fixture
async def fcm() -> AsyncIterator[FakeFcm]:
    server = await FakeFcm().start()
    yield server
    await server.stop()


@pytest.fixture
async def sender(fcm: FakeFcm) -> AsyncIterator[FirebaseSender]:
    made = FirebaseSender(
        ManualClock(1_700_000_000_000), credentials_file=None, project_id="demo", endpoint=fcm.endpoint
    )
    yield made
    await made.close()


async def test_the_body_that_arrives_has_the_clients_shape(fcm: FakeFcm, sender: FirebaseSender) -> None:
    [result] = await sender.send([Push(row(), device())])
    assert result.outcome is Outcome.SENT
    assert fcm.bodies == [
        {
            "token": "token-1",
            "notification": {"title": "Ada in Jazz night", "body": "see you there"},
            "data": {
                "type": "chat_message",
                "roomId": "event:e1",
                "eventId": "e1",
                "notificationId": "n1",
                "timestamp": "1700000000000",
            },
            "android": {
                "collapse_key": "room:event:e1",
                "priority": "high",
                "ttl": "604800s",
                "notification": {
                    "channel_id": "event_updates",
                    "notification_priority": "PRIORITY_HIGH",
                    "default_sound": True,
                    "tag": "room:event:e1",
                },
            },
            "apns": {
                "headers": {
                    "apns-push-type": "alert",
                    "apns-priority": "10",
                    "apns-expiration": "1700604800",
                    "apns-collapse-id": "room:event:e1",
                },
                "payload": {"aps": {"sound": "default", "badge": 3, "thread-id": "room:event:e1"}},
            },
        }
    ]
    assert fcm.authorizations == ["Bearer owner"]


async def test_an_installation_id_is_addressed_as_such(fcm: FakeFcm, sender: FirebaseSender) -> None:
    await sender.send([Push(row(), device("fid-1", "fid"))])
    assert fcm.bodies[0]["fid"] == "fid-1"
    assert "token" not in fcm.bodies[0]


async def test_long_text_and_data_are_cut_to_fcms_limits(fcm: FakeFcm, sender: FirebaseSender) -> None:
    [result] = await sender.send([Push(row(body="ä" * 5000, data={"a": "1", "b": "x" * 4000}), device())])
    assert result.outcome is Outcome.SENT
    assert fcm.bodies[0]["notification"]["body"] == "ä" * 299 + "…"
    assert "b" not in fcm.bodies[0]["data"]


@pytest.mark.parametrize(
    ("scripted", "outcome", "pause_s"),
    [
        (Scripted("UNREGISTERED"), Outcome.GONE, None),
        (Scripted("SENDER_ID_MISMATCH"), Outcome.GONE, None),
        (Scripted("QUOTA_EXCEEDED", headers={"Retry-After": "7"}), Outcome.RETRY, 7.0),
        (Scripted("QUOTA_EXCEEDED"), Outcome.RETRY, 60.0),
        (
            Scripted("INVALID_ARGUMENT", "The registration token is not a valid FCM registration token"),
            Outcome.GONE,
            None,
        ),
        (Scripted("INVALID_ARGUMENT", "Invalid value at 'message.android.ttl'"), Outcome.REJECTED, None),
    ],
)
async def test_each_answer_has_its_meaning(
    fcm: FakeFcm, sender: FirebaseSender, scripted: Scripted, outcome: Outcome, pause_s: float | None
) -> None:
    fcm.script["token-1"] = scripted
    other = Device(id="d2", user_id="u2", kind="token", value="token-2", platform="ios", last_seen_ms=0)
    judged, fine = await sender.send([Push(row(), device()), Push(row(id="n1:d2"), other)])
    assert (judged.outcome, judged.not_before_s) == (outcome, pause_s)
    assert fine.outcome is Outcome.SENT


async def test_a_server_that_is_away_means_try_again(fcm: FakeFcm, sender: FirebaseSender) -> None:
    await fcm.stop()
    [result] = await sender.send([Push(row(), device())])
    assert result.outcome is Outcome.RETRY
