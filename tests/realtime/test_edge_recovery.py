"""Hosts die, come back and change; clients' sockets stay open and see every message once, in order."""

import asyncio
from typing import Any

from actors.messages import Notified, Notify
from cluster.kernel.ids import chat_key, user_key
from tests.realtime.harness import CHAT, EVENTS, NOTIFICATIONS, Client, Flow


async def rooms_of(flow: Flow, count: int, *people: str) -> list[str]:
    return [await flow.room(*people) for _ in range(count)]


async def send(client: Client, room: str, text: str) -> dict[str, Any]:
    """As a client library does: once more when the answer says that it may."""
    message = {"roomId": room, "text": text, "clientMsgId": text}
    answer = await client.call(CHAT, "chat:send_message", message)
    if not answer["ok"] and answer["error"]["retryable"]:
        answer = await client.call(CHAT, "chat:send_message", message)
    return answer


async def check_all_received(client: Client, rooms: list[str], count: int) -> None:
    for _ in range(count * len(rooms) - len(client.all("chat:new_message"))):
        await client.next("chat:new_message")
    while len(client.all("chat:new_message")) < count * len(rooms):
        await client.next("chat:new_message")
    for room in rooms:
        seqs = [message["seq"] for message in client.all("chat:new_message") if message["roomId"] == room]
        assert seqs == list(range(1, count + 1)), room
    assert client.all("chat:resync") == []
    assert client.all("disconnect") == []


async def test_a_host_that_dies_and_comes_back_is_watched_again(flow: Flow):
    ann, bob = await flow.person(), await flow.person()
    rooms = await rooms_of(flow, 5, ann, bob)
    a = await flow.client(ann).connect(CHAT)
    b = await flow.client(bob).connect(CHAT)
    for room in rooms:
        await b.call(CHAT, "chat:join_room", room)
        assert (await send(a, room, "1"))["ok"]
    await flow.hosts[0].kill()
    sending = [asyncio.ensure_future(send(a, room, "2")) for room in rooms]
    await flow.add_host("host-0")
    answers = await asyncio.gather(*sending)
    assert all(answer["ok"] for answer in answers), answers
    for room in rooms:
        await send(a, room, "3")
    await check_all_received(b, rooms, 3)


async def test_rooms_follow_when_hosts_are_added_and_taken_away(flow: Flow):
    ann, bob = await flow.person(), await flow.person()
    rooms = await rooms_of(flow, 12, ann, bob)
    a = await flow.client(ann).connect(CHAT)
    b = await flow.client(bob).connect(CHAT)
    for room in rooms:
        assert (await b.call(CHAT, "chat:join_room", room))["ok"]

    async def send_all(text: str) -> None:
        for answer in await asyncio.gather(*(send(a, room, text) for room in rooms)):
            assert answer["ok"], answer

    await send_all("1")
    added = await flow.add_host("host-1")
    await send_all("2")
    round_number = 2
    while {flow.edges[0]._links.host_for(chat_key(room)) for room in rooms} != {"host-0", "host-1"}:
        round_number += 1
        await send_all(str(round_number))
    await send_all("on both")
    leaving = asyncio.ensure_future(added.leave())
    await send_all("while it leaves")
    await leaving
    await send_all("on one")
    await check_all_received(b, rooms, round_number + 3)


async def test_a_link_that_breaks_loses_nothing(flow: Flow):
    ann, bob = await flow.person(), await flow.person()
    rooms = await rooms_of(flow, 3, ann, bob)
    await flow.add_edge("edge-1")
    a = await flow.client(ann, "edge-1", flow.token(ann, 1)).connect(CHAT)
    b = await flow.client(bob).connect(CHAT)
    for room in rooms:
        await b.call(CHAT, "chat:join_room", room)
    for number in range(1, 9):
        if number % 3 == 0:
            flow.edges[0]._links.link_to("host-0").redial("a test")
        for room in rooms:
            assert (await send(a, room, str(number)))["ok"]
    await check_all_received(b, rooms, 8)


async def test_sessions_learn_of_their_sockets_again(flow: Flow):
    ann = await flow.person()
    client = await flow.client(ann).connect(CHAT, NOTIFICATIONS)
    await client.next("notification:badge")
    await flow.hosts[0].kill()
    await flow.add_host("host-0")
    router = flow.edges[0].router

    async def is_live(cause: str) -> bool:
        notify = Notify(id=cause, type="chat", title="New", body="A message", data={})
        return (await router.command("", user_key(ann), "session.notify", notify, Notified)).live

    causes = iter(range(1000))
    while not await is_live(str(next(causes))):
        pass
    await is_live("last")
    async with asyncio.timeout(5):
        while (await client.next("notification:new"))["id"] != "last":
            pass


async def test_someone_who_connects_while_no_host_is_there_is_served_when_one_comes(flow: Flow):
    edge = await flow.add_edge("edge-1", admission_timeout_s=0.1, command_timeout_s=0.3)
    ann = await flow.person(interests=("jazz",))
    room = await flow.room(ann)
    await flow.hosts[0].kill()
    client = await flow.client(ann, "edge-1", flow.token(ann, 1)).connect(CHAT, EVENTS, NOTIFICATIONS)
    answer = await client.call(CHAT, "chat:join_room", room)
    assert answer["error"]["code"] == "unavailable"
    assert answer["error"]["retryable"] is True
    await flow.add_host("host-0")
    assert await client.next("notification:badge") == {"unread": 0}
    while not (await client.call(CHAT, "chat:join_room", room))["ok"]:
        pass
    while "topic/interest:jazz" not in edge._subscriptions or (
        edge._subscriptions._keys["topic/interest:jazz"].position is None
    ):
        await client.call(CHAT, "chat:read", {"roomId": room, "seq": 0})


async def test_a_polling_client_is_served_through_the_wrong_edge(flow: Flow):
    await flow.add_edge("edge-1")
    ann, bob = await flow.person(), await flow.person()
    room = await flow.room(ann, bob)
    client = flow.client(ann)
    await client.connect(CHAT, transport="polling")
    # The rest of its requests land on the other edge, which has never seen it.
    engine = client.sio.eio
    engine.base_url = engine.base_url.replace(
        flow.urls["edge-0"].removeprefix("http"), flow.urls["edge-1"].removeprefix("http")
    )
    assert (await client.call(CHAT, "chat:join_room", room))["ok"]
    b = await flow.client(bob).connect(CHAT)
    assert (await send(b, room, "1"))["ok"]
    assert (await client.next("chat:new_message"))["text"] == "1"
    while flow.edges[1].statistics()["requests_forwarded"] < 3:
        await client.call(CHAT, "chat:read", {"roomId": room, "seq": 1})


async def test_the_state_of_an_edge_can_be_scraped(flow: Flow):
    client = await flow.client(await flow.person()).connect(CHAT)
    await client.call(CHAT, "chat:nonsense", {})
    text = flow.edges[0].metrics.render().decode()
    assert "active_users_total 1.0" in text
    assert 'flow_edge_errors_total{code="unknown_event"} 1.0' in text
    assert 'flow_edge_link_connected{host="host-0"} 1.0' in text
    assert "flow_edge_sockets 1.0" in text
