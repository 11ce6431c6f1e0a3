"""A real client's message through every real part."""

import uuid
from collections.abc import Awaitable, Callable

import pytest

from tests.support.flow_process import FcmThread, FlowProcess, Person, new_event

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]
Register = Callable[..., Awaitable[Person]]


async def in_a_room(*people: Person) -> str:
    event = await people[0].call_http("POST", "/v1/events", new_event())
    room_id = f"event:{event['id']}"
    for someone in people:
        if not someone.socket.connected:
            await someone.connect("/chat", "/events")
        assert (await someone.ask("/chat", "chat:join_room", room_id))["ok"]
    return room_id


async def test_a_message_reaches_the_other_client_and_the_history(person: Register) -> None:
    ada, bob = await person(), await person()
    room_id = await in_a_room(ada, bob)
    sent = await ada.say(room_id, "hello", "client-id-1")
    assert sent["ok"], sent
    got = await bob.wait_for("chat:new_message")
    assert got == {
        "roomId": room_id,
        "seq": sent["seq"],
        "epoch": sent["epoch"],
        "id": sent["id"],
        "userId": ada.id,
        "text": "hello",
        "ts": sent["ts"],
        "clientMsgId": "client-id-1",
    }
    history = await bob.call_http("GET", f"/v1/rooms/{room_id}/messages")
    assert [message["text"] for message in history["items"]] == ["hello"]


async def test_the_same_client_message_id_gets_the_same_answer_and_one_delivery(person: Register) -> None:
    ada, bob = await person(), await person()
    room_id = await in_a_room(ada, bob)
    first = await ada.say(room_id, "once", "same")
    assert await ada.say(room_id, "once", "same") == first
    other = await ada.say(room_id, "twice", "same")
    assert other["error"]["code"] == "client_message_id_reused"
    await ada.say(room_id, "after")
    await bob.wait_for("chat:new_message", lambda body: body["text"] == "after")
    assert [body["text"] for name, body in bob.events if name == "chat:new_message"] == ["once", "after"]


async def test_coming_back_with_since_gives_exactly_what_was_missed(person: Register) -> None:
    ada, bob = await person(), await person()
    room_id = await in_a_room(ada, bob)
    seen = await bob.ask("/chat", "chat:join_room", room_id)
    await bob.leave()
    sent = [await ada.say(room_id, f"missed {index}") for index in range(3)]
    await bob.connect("/chat")
    joined = await bob.ask("/chat", "chat:join_room", {"roomId": room_id, "since": seen["seq"]})
    assert joined["recovered"] is True
    assert [message["seq"] for message in joined["messages"]] == [answer["seq"] for answer in sent]


async def test_who_has_no_live_socket_gets_a_push(person: Register, fcm: FcmThread) -> None:
    ada, bob = await person(name="Ada"), await person(name="Bob")
    token = f"device-{uuid.uuid4().hex}"
    await bob.call_http("POST", "/v1/users/me/devices", {"kind": "token", "value": token, "platform": "android"})
    room_id = await in_a_room(ada, bob)
    await bob.leave()
    sent = await ada.say(room_id, "are you coming?")
    body = await fcm.wait_for(lambda message: message.get("token") == token)
    assert body["notification"]["body"] == "are you coming?"
    assert body["notification"]["title"].startswith("Ada in Jazz night")
    assert body["data"]["roomId"] == room_id
    assert body["data"]["seq"] == str(sent["seq"])
    assert body["android"]["notification"]["channel_id"] == "event_updates"
    assert body["apns"]["payload"]["aps"]["badge"] == 1


async def test_a_full_event_makes_the_next_wait_and_everyone_sees_the_count(person: Register) -> None:
    ada, bob, cyd = await person(), await person(), await person()
    room_id = await in_a_room(ada, bob, cyd)
    event_id = room_id.removeprefix("event:")
    assert (await ada.ask("/events", "event:join_updates", event_id))["ok"]
    answers = [
        await someone.ask("/events", "event:rsvp", {"eventId": event_id, "status": "going"})
        for someone in (ada, bob, cyd)
    ]
    assert [answer["status"] for answer in answers] == ["going", "going", "waiting"]
    full = await ada.wait_for("event:rsvp_update", lambda body: body["attending"] == 2)
    assert full["capacity"] == 2
    await bob.ask("/events", "event:rsvp", {"eventId": event_id, "status": "declined"})
    after = await cyd.ask("/events", "event:rsvp", {"eventId": event_id, "status": "going"})
    assert (after["status"], after["attending"]) == ("going", 2)


async def test_polling_clients_are_served_too(person: Register) -> None:
    ada, bob = await person(), await person()
    await bob.connect("/chat", transports=("polling",))
    room_id = await in_a_room(ada, bob)
    await ada.say(room_id, "by polling")
    assert (await bob.wait_for("chat:new_message"))["text"] == "by polling"


async def test_killing_the_host_loses_nothing_and_closes_no_socket(person: Register, flow: FlowProcess) -> None:
    ada, bob = await person(), await person()
    room_id = await in_a_room(ada, bob)
    before = [await ada.say(room_id, f"before {index}") for index in range(5)]
    assert all(answer["ok"] for answer in before)
    flow.kill("host-0")
    answer = await ada.say(room_id, "after", "after-the-kill")
    while not answer["ok"]:
        assert answer["error"]["retryable"], answer
        answer = await ada.say(room_id, "after", "after-the-kill")
    await bob.wait_for("chat:new_message", lambda body: body["text"] == "after")
    texts = [*(f"before {index}" for index in range(5)), "after"]
    assert [body["text"] for name, body in bob.events if name == "chat:new_message"] == texts
    assert [body["seq"] for name, body in bob.events if name == "chat:new_message"] == [1, 2, 3, 4, 5, 6]
    history = await bob.call_http("GET", f"/v1/rooms/{room_id}/messages")
    assert [message["text"] for message in history["items"]] == texts
    assert bob.socket.connected


@pytest.mark.parametrize(
    ("namespace", "name", "payload", "code"),
    [
        ("/chat", "chat:nothing", {}, "unknown_event"),
        ("/chat", "chat:send_message", {}, "invalid_request"),
        ("/chat", "chat:send_message", {"roomId": "x", "text": "t", "clientMsgId": "c"}, "invalid_request"),
        ("/chat", "chat:send_message", {"roomId": "f" * 24, "text": 7, "clientMsgId": "c"}, "invalid_request"),
        (
            "/chat",
            "chat:send_message",
            {"roomId": "f" * 24, "text": "t", "clientMsgId": "c", "x": 1},
            "invalid_request",
        ),
        ("/chat", "chat:send_message", {"roomId": "f" * 24, "text": "t" * 9000, "clientMsgId": "c"}, "invalid_request"),
        ("/chat", "chat:join_room", "f" * 24, "room_not_found"),
        ("/chat", "chat:join_room", "event:" + "f" * 24, "event_not_found"),
        ("/chat", "chat:join_room", f"dm:{'a' * 24}:{'b' * 24}", "not_a_member"),
        ("/events", "event:rsvp", {"eventId": "f" * 24, "status": "perhaps"}, "invalid_request"),
        ("/events", "event:join_updates", "f" * 24, "event_not_found"),
    ],
)
async def test_bad_input_gets_a_typed_error(
    person: Register, namespace: str, name: str, payload: object, code: str
) -> None:
    ada = await person()
    await ada.connect("/chat", "/events")
    answer = await ada.ask(namespace, name, payload)
    assert answer["ok"] is False
    assert answer["error"]["code"] == code, answer


async def test_a_group_room_is_for_its_members(person: Register) -> None:
    ada, bob, cyd = await person(), await person(), await person()
    room = await ada.call_http("POST", "/v1/rooms", {"name": "Band", "memberIds": [bob.id]})
    for someone in (ada, bob, cyd):
        await someone.connect("/chat")
    assert (await bob.ask("/chat", "chat:join_room", room["id"]))["ok"]
    assert (await cyd.ask("/chat", "chat:join_room", room["id"]))["error"]["code"] == "not_a_member"
    assert (await cyd.say(room["id"], "let me in"))["error"]["code"] == "not_a_member"
    assert (await ada.say(room["id"], "hello band"))["ok"]
    assert (await bob.wait_for("chat:new_message"))["text"] == "hello band"
