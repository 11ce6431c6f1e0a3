"""Rooms and messages over HTTP."""

from typing import Any

import pytest

from actors.messages import (
    Done,
    HistoryPage,
    JoinedRoom,
    JoinRoom,
    MembersChanged,
    ReadHistory,
    SendMessage,
    SentMessage,
)
from cluster.kernel.errors import (
    CLIENT_MESSAGE_ID_REUSED,
    FORBIDDEN,
    NOT_A_MEMBER,
    ROOM_NOT_FOUND,
    UNAVAILABLE,
    ErrorKind,
    FlowError,
)
from cluster.kernel.ids import is_id
from tests.http.harness import Api

pytestmark = pytest.mark.storage

NOBODY = "f" * 24
A, B = "a" * 24, "b" * 24


def message(seq: int) -> dict[str, Any]:
    return {
        "roomId": A,
        "seq": seq,
        "epoch": 1,
        "id": f"{seq:024x}",
        "userId": B,
        "text": f"message {seq}",
        "ts": 1_700_000_000_000 + seq,
        "clientMsgId": f"c{seq}",
    }


async def a_room(api: Api, *people: Any) -> str:
    body = {"name": "Band", "memberIds": [who.id for who in people[1:]]}
    made = await api.call("POST", "/v1/rooms", body, who=people[0])
    assert made.status == 201, made
    return made.body["id"]


async def test_a_group_has_its_maker_and_those_named_as_members(api: Api) -> None:
    ada, bob, cyd = [await api.someone() for _ in range(3)]
    body = {"name": " Band ", "memberIds": [bob.id, bob.id, ada.id]}
    made = await api.call("POST", "/v1/rooms", body, who=ada)
    assert made.status == 201
    room = made.body
    assert (room["kind"], room["name"], room["createdBy"]) == ("group", "Band", ada.id)
    memberships = api.context.storage.memberships
    members = await memberships.members([room["id"]], None, 10)
    assert members == [(room["id"], user_id) for user_id in sorted([ada.id, bob.id])]
    for who, rooms in ((ada, [room]), (bob, [room]), (cyd, [])):
        assert (await api.call("GET", "/v1/rooms", who=who)).body == {"items": rooms, "next": None}


async def test_rooms_are_listed_page_by_page(api: Api) -> None:
    ada = await api.someone()
    rooms = [await a_room(api, ada) for _ in range(5)]
    for limit in (1, 2, 5):
        assert [item["id"] for item in await api.walk("/v1/rooms", who=ada, limit=limit)] == sorted(rooms)


@pytest.mark.parametrize(
    ("body", "code", "fields"),
    [
        ({}, "invalid_request", ["name"]),
        ({"name": " "}, "invalid_request", ["name"]),
        ({"name": "x" * 101}, "invalid_request", ["name"]),
        ({"name": "Band", "memberIds": ["me"]}, "invalid_request", ["memberIds[0]"]),
        ({"name": "Band", "memberIds": [f"{n:024x}" for n in range(101)]}, "invalid_request", ["memberIds"]),
        ({"name": "Band", "memberIds": [NOBODY]}, "user_not_found", ["memberIds"]),
        ({"name": "Band", "kind": "event"}, "invalid_request", ["kind"]),
    ],
)
async def test_bad_rooms_are_refused(api: Api, body: dict[str, Any], code: str, fields: list[str]) -> None:
    ada = await api.someone()
    refused = await api.call("POST", "/v1/rooms", body, who=ada)
    assert (refused.code, refused.body["fields"]) == (code, fields)
    assert (await api.call("GET", "/v1/rooms", who=ada)).body["items"] == []


async def test_a_member_brings_in_others_and_the_room_is_told(api: Api) -> None:
    ada, bob, cyd = [await api.someone() for _ in range(3)]
    room_id = await a_room(api, ada, bob)
    api.router.answers["chat.members_changed"] = Done()
    added = await api.call("POST", f"/v1/rooms/{room_id}/members", {"memberIds": [cyd.id]}, who=bob)
    assert added.status == 204
    [told] = api.router.sent
    assert (told.key, told.body) == (f"chat/{room_id}", MembersChanged(users=(cyd.id,)))
    left = await api.call("DELETE", f"/v1/rooms/{room_id}/members/me", who=cyd)
    assert left.status == 204
    assert not await api.context.storage.memberships.is_member(room_id, cyd.id)
    assert api.router.sent[-1].body == MembersChanged(users=(cyd.id,), removed=True)


async def test_a_member_is_added_though_the_room_cannot_be_told(api: Api) -> None:
    ada, bob = await api.someone(), await api.someone()
    room_id = await a_room(api, ada)
    api.router.answers["chat.members_changed"] = FlowError(UNAVAILABLE)
    added = await api.call("POST", f"/v1/rooms/{room_id}/members", {"memberIds": [bob.id]}, who=ada)
    assert added.status == 204
    assert await api.context.storage.memberships.is_member(room_id, bob.id)


async def test_who_is_no_member_brings_in_nobody(api: Api) -> None:
    ada, bob = await api.someone(), await api.someone()
    room_id = await a_room(api, ada)
    body = {"memberIds": [bob.id]}
    assert (await api.call("POST", f"/v1/rooms/{room_id}/members", body, who=bob)).code == "not_a_member"
    assert (await api.call("POST", f"/v1/rooms/{NOBODY}/members", body, who=bob)).code == "room_not_found"
    assert (await api.call("POST", f"/v1/rooms/event:{A}/members", body, who=bob)).code == "invalid_request"
    assert not await api.context.storage.memberships.is_member(room_id, bob.id)


async def test_a_conversation_of_two_cannot_be_left(api: Api) -> None:
    ada = await api.someone()
    refused = await api.call("DELETE", f"/v1/rooms/dm:{ada.id}:{A}/members/me", who=ada)
    assert refused.code == "invalid_request"


@pytest.mark.parametrize(
    ("room_id", "key"),
    [(A, A), (f"event:{A}", f"event:{A}"), (f"dm:{B}:{A}", f"dm:{A}:{B}"), (f"dm%3A{A}%3A{B}", f"dm:{A}:{B}")],
)
async def test_history_is_the_rooms_own_in_every_form_of_its_id(api: Api, room_id: str, key: str) -> None:
    ada = await api.someone()
    api.router.answers["chat.history"] = HistoryPage(messages=(message(4), message(5)), next_before=4)
    page = await api.call("GET", f"/v1/rooms/{room_id}/messages", who=ada, params={"limit": 2})
    assert page.body == {"items": [message(4), message(5)], "next": "4"}
    [sent] = api.router.sent
    assert (sent.user_id, sent.key, sent.body) == (ada.id, f"chat/{key}", ReadHistory(before=None, limit=2))


async def test_history_is_walked_by_before_or_by_cursor(api: Api) -> None:
    ada = await api.someone()

    def history(sent: Any) -> HistoryPage:
        last = 8 if sent.body.before is None else sent.body.before
        seqs = [seq for seq in range(1, 8) if seq < last][-sent.body.limit :]
        return HistoryPage(messages=tuple(map(message, seqs)), next_before=seqs[0] if seqs[0] > 1 else None)

    api.router.answers["chat.history"] = history
    walked = await api.walk(f"/v1/rooms/{A}/messages", who=ada, limit=3)
    assert sorted(item["seq"] for item in walked) == list(range(1, 8))
    before = await api.call("GET", f"/v1/rooms/{A}/messages?before=3&limit=2", who=ada)
    assert [item["seq"] for item in before.body["items"]] == [1, 2]


@pytest.mark.parametrize(
    "query", ["before=0", "before=x", "limit=0", "limit=101", "before=3&cursor=3", "cursor=-1", "since=3", "before=1.5"]
)
async def test_a_bad_page_is_refused(api: Api, query: str) -> None:
    ada = await api.someone()
    refused = await api.call("GET", f"/v1/rooms/{A}/messages?{query}", who=ada)
    assert refused.code == "invalid_request"
    assert query.split("=", maxsplit=1)[0] in refused.body["fields"]
    assert api.router.sent == []


async def test_a_message_is_sent_by_the_rooms_own_rules(api: Api) -> None:
    ada = await api.someone()
    api.router.answers["chat.send"] = SentMessage(id=B, seq=7, epoch=2, ts=1_700_000_000_007)
    body = {"text": "hello", "clientMsgId": "c1"}
    sent = await api.call("POST", f"/v1/rooms/event:{A}/messages", body, who=ada)
    assert sent.status == 201
    assert sent.body == {"id": B, "seq": 7, "epoch": 2, "ts": 1_700_000_000_007}
    [command] = api.router.sent
    assert isinstance(command.body, SendMessage)
    assert (command.key, command.user_id) == (f"chat/event:{A}", ada.id)
    assert (command.body.text, command.body.client_message_id) == ("hello", "c1")
    assert is_id(command.body.id)


@pytest.mark.parametrize("kind", [NOT_A_MEMBER, ROOM_NOT_FOUND, FORBIDDEN, CLIENT_MESSAGE_ID_REUSED, UNAVAILABLE])
async def test_what_the_room_refuses_is_refused(api: Api, kind: ErrorKind) -> None:
    ada = await api.someone()
    api.router.answers["chat.send"] = api.router.answers["chat.history"] = FlowError(kind)
    body = {"text": "hello", "clientMsgId": "c1"}
    assert (await api.call("POST", f"/v1/rooms/{A}/messages", body, who=ada)).code == kind.code
    assert (await api.call("GET", f"/v1/rooms/{A}/messages", who=ada)).code == kind.code


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"text": "", "clientMsgId": "c"}, "text"),
        ({"text": "x" * 4_001, "clientMsgId": "c"}, "text"),
        ({"text": 7, "clientMsgId": "c"}, "text"),
        ({"text": "hello"}, "clientMsgId"),
        ({"text": "hello", "clientMsgId": "x" * 129}, "clientMsgId"),
        ({"text": "hello", "clientMsgId": "c", "userId": B}, "userId"),
        ({"text": "hello", "clientMsgId": "c", "seq": 1}, "seq"),
    ],
)
async def test_a_bad_message_is_refused_before_the_room(api: Api, body: dict[str, Any], field: str) -> None:
    ada = await api.someone()
    refused = await api.call("POST", f"/v1/rooms/{A}/messages", body, who=ada)
    assert refused.body["fields"] == [field]
    assert api.router.sent == []


@pytest.mark.parametrize("room_id", ["x", "event:x", f"dm:{A}", f"dm:{A}:{A}", f"user:{A}", "event%3A%24ne"])
@pytest.mark.parametrize(("method", "rest"), [("GET", "messages"), ("POST", "messages"), ("POST", "members/me")])
async def test_what_is_no_room_id_is_refused(api: Api, method: str, rest: str, room_id: str) -> None:
    ada = await api.someone()
    body = {"text": "hello", "clientMsgId": "c"} if (method, rest) == ("POST", "messages") else None
    refused = await api.call(method, f"/v1/rooms/{room_id}/{rest}", body, who=ada)
    assert (refused.code, refused.body["fields"]) == ("invalid_request", ["roomId"])


async def test_joining_an_events_chat_answers_with_its_newest_messages(api: Api) -> None:
    ada = await api.someone()
    api.router.answers["chat.join"] = JoinedRoom(epoch=3, seq=5, recovered=False, messages=(message(4), message(5)))
    joined = await api.call("POST", f"/v1/rooms/event:{A}/members/me", who=ada)
    assert joined.body == {"epoch": 3, "seq": 5, "messages": [message(4), message(5)]}
    assert api.router.sent[0].body == JoinRoom()
