"""Coming back with `since`: in the `auth` payload for all rooms at once, or with a join for one."""

import asyncio
from typing import Any

import pytest

from tests.realtime.harness import CHAT, Client, Flow


async def say(client: Client, room: str, *texts: str) -> list[dict[str, Any]]:
    answers = []
    for text in texts:
        message = {"roomId": room, "text": text, "clientMsgId": text}
        answers.append(await client.call(CHAT, "chat:send_message", message))
        assert answers[-1]["ok"], answers
    return answers


def texts(resumed: dict[str, Any]) -> list[str]:
    return [message["text"] for message in resumed["messages"]]


async def test_all_rooms_are_resumed_from_the_auth_payload_without_a_request(flow: Flow):
    ann, bob = await flow.person(), await flow.person()
    rooms = [await flow.room(ann, bob) for _ in range(3)]
    direct, forbidden = f"dm:{max(ann, bob)}:{min(ann, bob)}", await flow.room(ann)
    a = await flow.client(ann).connect(CHAT)
    for room in (*rooms, direct):
        await say(a, room, "1", "2", "3")
    since = {rooms[0]: 1, rooms[1]: {"epoch": 1, "seq": 0}, rooms[2]: 3, direct: 2, forbidden: 0, "nonsense": 4}
    b = await flow.client(bob).connect(CHAT, since=since)
    resumed = {}
    for _ in since:
        answer = await b.next("chat:resumed")
        resumed[answer["roomId"]] = answer
    assert {room: texts(resumed[room]) for room in rooms} == {
        rooms[0]: ["2", "3"],
        rooms[1]: ["1", "2", "3"],
        rooms[2]: [],
    }
    assert texts(resumed[f"dm:{min(ann, bob)}:{max(ann, bob)}"]) == ["3"]
    for answer in resumed.values():
        if "error" not in answer:
            assert (answer["recovered"], answer["seq"], answer["epoch"]) == (True, 3, 1)
    assert resumed[forbidden]["error"]["code"] == "not_a_member"
    assert resumed["nonsense"]["error"]["code"] == "invalid_request"
    await say(a, rooms[2], "4")
    assert (await b.next("chat:new_message"))["text"] == "4"


async def test_nothing_is_missed_or_repeated_while_rooms_are_being_resumed(flow: Flow):
    ann, bob = await flow.person(), await flow.person()
    rooms = [await flow.room(ann, bob) for _ in range(8)]
    a = await flow.client(ann).connect(CHAT)

    async def speak() -> None:
        for number in range(40):
            await asyncio.gather(*(say(a, room, str(number)) for room in rooms))

    speaking = asyncio.ensure_future(speak())
    b = await flow.client(bob).connect(CHAT, since=dict.fromkeys(rooms, 0))
    await speaking
    seen: dict[str, list[str]] = {room: [] for room in rooms}

    def collect() -> None:
        for messages in seen.values():
            messages.clear()
        for _, name, body in b.heard:
            if name == "chat:resumed":
                assert body["recovered"] is True
                seen[body["roomId"]] += texts(body)
            elif name == "chat:new_message":
                seen[body["roomId"]].append(body["text"])

    async with asyncio.timeout(10):
        while sum(map(len, seen.values())) < 40 * len(rooms):
            await asyncio.sleep(0)
            collect()
    assert seen == {room: [str(number) for number in range(40)] for room in rooms}


@pytest.mark.parametrize(
    "since",
    [
        {"a" * 24: -1},
        {"a" * 24: "1"},
        {"a" * 24: {"epoch": 1}},
        {"a" * 24: {"seq": 1, "more": 2}},
        {"": 1},
        {"a" * 65: 1},
        [1],
        {f"{number:024x}": 0 for number in range(129)},
    ],
)
async def test_a_since_that_is_none_refuses_the_connection(flow: Flow, since: Any):
    client = flow.client(await flow.person())
    with pytest.raises(Exception, match="failed to connect"):
        await client.connect(CHAT, since=since)
    assert client.refusals[CHAT]["data"]["code"] == "invalid_request"
    assert client.refusals[CHAT]["data"]["fields"] == ["since"]


async def test_a_room_whose_host_is_away_is_answered_when_it_is_back(flow: Flow):
    ann, bob = await flow.person(), await flow.person()
    room = await flow.room(ann, bob)
    a = await flow.client(ann).connect(CHAT)
    await say(a, room, "1", "2")
    await flow.hosts[0].kill()
    b = await flow.client(bob).connect(CHAT, since={room: 1})
    await flow.add_host("host-0")
    resumed = await b.next("chat:resumed")
    assert (resumed["recovered"], texts(resumed)) == (True, ["2"])


async def test_a_room_whose_host_stays_away_is_answered_with_an_error(flow: Flow):
    await flow.add_edge("edge-1", admission_timeout_s=0.1, rooms_resume_timeout_s=0.2)
    ann = await flow.person()
    room = await flow.room(ann)
    await flow.hosts[0].kill()
    client = await flow.client(ann, "edge-1").connect(CHAT, since={room: 0})
    resumed = await client.next("chat:resumed")
    assert (resumed["roomId"], resumed["error"]["code"], resumed["error"]["retryable"]) == (room, "unavailable", True)


@pytest.mark.parametrize(
    ("since", "recovered", "expected"),
    [
        ({"since": 0}, True, ["1", "2", "3"]),
        ({"since": 2}, True, ["3"]),
        ({"since": 3}, True, []),
        ({"since": 4}, False, ["1", "2", "3"]),
        ({"since": 2**53}, False, ["1", "2", "3"]),
        ({"since": {"seq": 2}}, True, ["3"]),
        ({"since": {"seq": 2, "epoch": 1}}, True, ["3"]),
        ({"since": 2, "epoch": 1}, True, ["3"]),
        ({"since": {"seq": 2, "epoch": 9}}, False, ["1", "2", "3"]),
        ({"since": 2, "epoch": 9}, False, ["1", "2", "3"]),
    ],
)
async def test_since_with_a_join(flow: Flow, since: dict[str, Any], recovered: bool, expected: list[str]):
    """An older epoch is no hindrance: seq is dense over the whole life of a room. A newer one has not been."""
    ann = await flow.person()
    room = await flow.room(ann)
    client = await flow.client(ann).connect(CHAT)
    await say(client, room, "1", "2")
    await flow.hosts[0].kill()
    await flow.add_host("host-0")
    await say(client, room, "3")
    joined = await client.call(CHAT, "chat:join_room", {"roomId": room, **since})
    assert joined["ok"], joined
    assert (joined["recovered"], texts(joined), joined["seq"], joined["epoch"]) == (recovered, expected, 3, 2)


async def test_past_what_can_be_given_the_newest_page_is(flow: Flow):
    ann = await flow.person()
    room = await flow.room(ann)
    client = await flow.client(ann).connect(CHAT)
    for first in range(0, 1_002, 50):
        await asyncio.gather(*(say(client, room, str(number)) for number in range(first, min(first + 50, 1_002))))
    recovered = await client.call(CHAT, "chat:join_room", {"roomId": room, "since": 2})
    assert (recovered["recovered"], len(recovered["messages"])) == (True, 1_000)
    joined = await client.call(CHAT, "chat:join_room", {"roomId": room, "since": 1})
    assert (joined["recovered"], len(joined["messages"]), joined["messages"][-1]["seq"]) == (False, 50, 1_002)
