"""Bad input gets a typed error with a code of the table: never a stack trace, never a hang, and the socket lives on."""

import asyncio
from typing import Any

import pytest
import socketio

from cluster.kernel.clock import ManualClock
from cluster.kernel.ids import new_id
from realtime.auth import TokenService, TokenSettings
from tests.realtime.harness import CHAT, EVENTS, NOTIFICATIONS, Flow

ID = "a" * 24

BAD: list[tuple[str, str, tuple[Any, ...], str, list[str]]] = [
    (CHAT, "chat:nonsense", ({},), "unknown_event", []),
    (CHAT, "event:rsvp", ({"eventId": ID, "status": "going"},), "unknown_event", []),
    (CHAT, "chat:join_room", (), "invalid_request", []),
    (CHAT, "chat:join_room", (7,), "invalid_request", []),
    (CHAT, "chat:join_room", (None,), "invalid_request", []),
    (CHAT, "chat:join_room", ("nowhere",), "invalid_request", ["roomId"]),
    (CHAT, "chat:join_room", ({"roomId": ID, "since": "1"},), "invalid_request", ["since"]),
    (CHAT, "chat:join_room", ({"roomId": ID, "since": -1},), "invalid_request", ["since"]),
    (CHAT, "chat:join_room", ({"roomId": ID, "since": True},), "invalid_request", ["since"]),
    (CHAT, "chat:join_room", (ID,), "room_not_found", []),
    (CHAT, "chat:join_room", (f"event:{ID}",), "event_not_found", []),
    (CHAT, "chat:send_message", ({"roomId": ID, "text": "x"},), "invalid_request", ["clientMsgId"]),
    (
        CHAT,
        "chat:send_message",
        ({"roomId": ID, "text": 1, "clientMsgId": "1", "role": "admin"},),
        "invalid_request",
        ["role", "text"],
    ),
    (CHAT, "chat:send_message", ({"roomId": ID, "text": "x" * 4001, "clientMsgId": "1"},), "invalid_request", ["text"]),
    (CHAT, "chat:send_message", ({"roomId": ID, "text": "", "clientMsgId": "1"},), "invalid_request", ["text"]),
    (CHAT, "chat:send_message", ({"roomId": ID, "text": b"x", "clientMsgId": "1"},), "invalid_request", ["text"]),
    (CHAT, "chat:send_message", ({"roomId": ID, "text": "x", "clientMsgId": "1"},), "room_not_found", []),
    (CHAT, "chat:typing", ({"roomId": ID, "isTyping": "yes"},), "invalid_request", ["isTyping"]),
    (CHAT, "chat:typing", ({"roomId": ID, "isTyping": True},), "not_joined", []),
    (CHAT, "chat:history", ({"roomId": ID, "limit": 101},), "invalid_request", ["limit"]),
    (EVENTS, "event:rsvp", ({"eventId": ID, "status": "maybe"},), "invalid_request", ["status"]),
    (EVENTS, "event:rsvp", ({"eventId": "x", "status": "going"},), "invalid_request", ["eventId"]),
    (EVENTS, "event:rsvp", ({"eventId": ID, "status": "going"},), "event_not_found", []),
    (EVENTS, "event:join_updates", (ID,), "event_not_found", []),
    (EVENTS, "event:interested", ({"eventId": ID, "x": 1},), "invalid_request", ["x"]),
    (NOTIFICATIONS, "notification:read", ({"id": "none"},), "not_found", []),
    (NOTIFICATIONS, "notification:list", ({"limit": 0},), "invalid_request", ["limit"]),
    (NOTIFICATIONS, "auth:refresh", ({"token": "x"},), "unauthenticated", []),
]


async def test_every_bad_request_gets_its_code(flow: Flow):
    client = await flow.client(await flow.person()).connect(CHAT, EVENTS, NOTIFICATIONS)
    for namespace, name, arguments, code, fields in BAD:
        answer = await client.call(namespace, name, *arguments)
        assert answer["ok"] is False, (name, arguments)
        assert answer["error"]["code"] == code, (name, arguments, answer)
        assert sorted(answer["error"].get("fields", [])) == sorted(fields), (name, arguments, answer)
        assert answer["error"].keys() >= {"code", "message", "retryable"}
    room = await flow.room(client.user_id)
    assert (await client.call(CHAT, "chat:join_room", room))["ok"]


async def test_a_stranger_may_neither_join_nor_send(flow: Flow):
    ann, eve = await flow.person(), await flow.person()
    room = await flow.room(ann)
    client = await flow.client(eve).connect(CHAT)
    sent = {"roomId": room, "text": "x", "clientMsgId": "1"}
    assert (await client.call(CHAT, "chat:join_room", room))["error"]["code"] == "not_a_member"
    assert (await client.call(CHAT, "chat:send_message", sent))["error"]["code"] == "not_a_member"
    assert (await client.call(CHAT, "chat:history", {"roomId": room}))["error"]["code"] == "not_a_member"
    assert (await client.call(CHAT, "chat:join_room", f"dm:{ann}:{new_id()}"))["ok"] is False


@pytest.mark.parametrize(
    ("auth", "code"),
    [
        (None, "unauthenticated"),
        ({}, "unauthenticated"),
        ({"token": 1}, "unauthenticated"),
        ({"token": "nonsense"}, "unauthenticated"),
        ({"token": "x" * 5000}, "invalid_request"),
    ],
)
async def test_a_wrong_or_missing_token_is_refused_with_its_code(flow: Flow, auth: Any, code: str):
    await refused(flow, auth, code)


async def test_an_expired_token_is_refused_as_expired(flow: Flow):
    long_ago = ManualClock()
    token, _ = TokenService(TokenSettings("x" * 32), long_ago).issue(await flow.person(), "someone", "s")
    await refused(flow, {"token": token}, "token_expired")


async def test_a_token_of_another_key_is_refused(flow: Flow):
    token, _ = TokenService(TokenSettings("y" * 32), flow.clock).issue(await flow.person(), "someone", "s")
    await refused(flow, {"token": token}, "unauthenticated")


async def test_the_token_of_somebody_who_does_not_exist_is_refused(flow: Flow):
    await refused(flow, {"token": flow.token(new_id())}, "user_not_found")


async def refused(flow: Flow, auth: Any, code: str) -> None:
    client = flow.client(new_id(), token="")
    with pytest.raises(socketio.exceptions.ConnectionError):
        await client.sio.connect(client.url, namespaces=[CHAT], auth=auth, transports=["websocket"], wait_timeout=5)
    assert client.refusals[CHAT]["data"]["code"] == code
    assert flow.edges[0].statistics()["admitted_sockets"] == 0
    async with asyncio.timeout(5):
        while flow.edges[0].statistics()["requests_under_way"]:  # noqa: ASYNC110 - its host is being told that it has gone
            await asyncio.sleep(0.001)


async def test_too_many_requests_are_slowed_down(flow: Flow):
    client = await flow.client(await flow.person()).connect(NOTIFICATIONS)
    token = {"token": client.token}
    answers = [await client.call(NOTIFICATIONS, "auth:refresh", token) for _ in range(6)]
    assert [answer["ok"] for answer in answers] == [True] * 5 + [False]
    assert answers[-1]["error"]["code"] == "rate_limited"
    assert answers[-1]["error"]["retryAfterMs"] > 0


async def test_a_connection_may_have_only_so_many_rooms(flow: Flow):
    edge = await flow.add_edge("edge-1", max_rooms_per_connection=2)
    ann = await flow.person()
    client = await flow.client(ann, "edge-1").connect(CHAT)
    rooms = [await flow.room(ann) for _ in range(3)]
    answers = [await client.call(CHAT, "chat:join_room", room) for room in rooms]
    assert [answer["ok"] for answer in answers] == [True, True, False]
    assert answers[2]["error"]["code"] == "limit_reached"
    assert edge.statistics()["keys"] == 2 + 1  # the edge itself watches a topic


async def test_a_person_may_have_only_so_many_sockets(flow: Flow):
    await flow.add_edge("edge-1", max_sockets_per_user=2)
    ann = await flow.person()
    for _ in range(2):
        await flow.client(ann, "edge-1").connect(CHAT)
    third = flow.client(ann, "edge-1")
    with pytest.raises(socketio.exceptions.ConnectionError):
        await third.connect(CHAT)
    assert third.refusals[CHAT]["data"]["code"] == "rate_limited"


async def test_a_mistake_of_ours_is_answered_as_internal_and_logged_without_what_was_sent(flow: Flow, caplog):
    client = await flow.client(await flow.person()).connect(CHAT)

    def broken(connection: Any, key: str) -> bool:
        raise RuntimeError(f"about {key}")

    flow.edges[0]._subscriptions.is_joined = broken
    answer = await client.call(CHAT, "chat:typing", {"roomId": ID, "isTyping": True})
    assert answer["error"]["code"] == "internal"
    assert "RuntimeError" in caplog.text
    assert ID not in caplog.text
