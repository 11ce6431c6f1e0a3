"""A message's whole way: client, edge, link, host, storage and back to another client."""

import asyncio

from cluster.kernel.ids import new_id
from tests.realtime.harness import CHAT, Flow


async def test_a_message_is_answered_and_received(flow: Flow):
    ann, bob = await flow.person(), await flow.person()
    room = await flow.room(ann, bob)
    a = await flow.client(ann).connect(CHAT)
    b = await flow.client(bob).connect(CHAT)
    joined = await a.call(CHAT, "chat:join_room", room)
    assert joined == {"ok": True, "epoch": 1, "seq": 0, "recovered": False, "messages": []} | {
        "recovered": joined["recovered"]
    }
    assert (await b.call(CHAT, "chat:join_room", {"roomId": room}))["ok"]
    sent = await a.call(CHAT, "chat:send_message", {"roomId": room, "text": "hello", "clientMsgId": "1"})
    assert sent.keys() == {"ok", "id", "seq", "epoch", "ts"}
    assert sent["ok"] is True
    message = await b.next("chat:new_message")
    assert message == {
        "roomId": room,
        "seq": sent["seq"],
        "epoch": sent["epoch"],
        "id": sent["id"],
        "userId": ann,
        "text": "hello",
        "ts": sent["ts"],
        "clientMsgId": "1",
    }
    again = await a.call(CHAT, "chat:send_message", {"roomId": room, "text": "hello", "clientMsgId": "1"})
    assert again == sent


async def test_requests_of_one_client_take_effect_in_order(flow: Flow):
    ann, bob = await flow.person(), await flow.person()
    room = await flow.room(ann, bob)
    a = await flow.client(ann).connect(CHAT)
    b = await flow.client(bob).connect(CHAT)
    await b.call(CHAT, "chat:join_room", room)
    await a.sio.emit("chat:join_room", room, namespace=CHAT)
    for number in range(50):
        message = {"roomId": room, "text": str(number), "clientMsgId": str(number)}
        await a.sio.emit("chat:send_message", message, namespace=CHAT)
    received = [await b.next("chat:new_message") for _ in range(50)]
    assert [message["text"] for message in received] == [str(number) for number in range(50)]
    assert [message["seq"] for message in received] == list(range(1, 51))


async def test_requests_with_a_task_and_those_without_one_begin_in_the_order_they_came(flow: Flow):
    ann = await flow.person()
    room = await flow.room(ann)
    a = await flow.client(ann).connect(CHAT)
    typing = {"roomId": room, "isTyping": True}
    answers = await asyncio.gather(
        a.call(CHAT, "chat:typing", typing),
        a.call(CHAT, "chat:join_room", room),
        a.call(CHAT, "chat:typing", typing),
        a.call(CHAT, "chat:leave_room", {"roomId": room}),
        a.call(CHAT, "chat:typing", typing),
    )
    assert [answer["ok"] for answer in answers] == [False, True, True, True, False]
    assert flow.edges[0].statistics()["requests_under_way"] == 0


async def test_a_client_that_comes_back_gets_exactly_what_it_missed(flow: Flow):
    ann, bob = await flow.person(), await flow.person()
    room = await flow.room(ann, bob)
    a = await flow.client(ann).connect(CHAT)
    b = await flow.client(bob).connect(CHAT)
    joined = await b.call(CHAT, "chat:join_room", room)
    await b.close()
    for number in range(3):
        await a.call(CHAT, "chat:send_message", {"roomId": room, "text": str(number), "clientMsgId": str(number)})
    b = await flow.client(bob).connect(CHAT)
    back = await b.call(CHAT, "chat:join_room", {"roomId": room, "since": joined["seq"], "epoch": joined["epoch"]})
    assert back["recovered"] is True
    assert [message["text"] for message in back["messages"]] == ["0", "1", "2"]
    await a.call(CHAT, "chat:send_message", {"roomId": room, "text": "live", "clientMsgId": "live"})
    assert (await b.next("chat:new_message"))["seq"] == back["seq"] + 1


async def test_typing_reaches_the_others_alone_and_leaving_ends_it(flow: Flow):
    ann, bob = await flow.person(), await flow.person()
    room = await flow.room(ann, bob)
    a = await flow.client(ann).connect(CHAT)
    b = await flow.client(bob).connect(CHAT)
    for client in (a, b):
        await client.call(CHAT, "chat:join_room", room)
    assert (await a.call(CHAT, "chat:typing", {"roomId": room, "isTyping": True})) == {"ok": True}
    assert await b.next("chat:user_typing") == {"roomId": room, "userId": ann, "isTyping": True}
    assert (await b.call(CHAT, "chat:leave_room", {"roomId": room}))["ok"]
    assert (await b.call(CHAT, "chat:typing", {"roomId": room, "isTyping": True}))["error"]["code"] == "not_joined"
    await a.call(CHAT, "chat:send_message", {"roomId": room, "text": "x", "clientMsgId": "x"})
    assert (await a.next("chat:new_message"))["text"] == "x"
    assert b.all("chat:new_message") == []
    assert a.all("chat:user_typing") == []


async def test_read_marks_and_history(flow: Flow):
    ann = await flow.person()
    room = await flow.room(ann)
    a = await flow.client(ann).connect(CHAT)
    for number in range(5):
        await a.call(CHAT, "chat:send_message", {"roomId": room, "text": str(number), "clientMsgId": str(number)})
    assert (await a.call(CHAT, "chat:read", {"roomId": room, "seq": 3}))["ok"]
    page = await a.call(CHAT, "chat:history", {"roomId": room, "before": 4, "limit": 2})
    assert [message["seq"] for message in page["messages"]] == [2, 3]


async def test_direct_rooms_have_one_name_for_both(flow: Flow):
    ann, bob = await flow.person(), await flow.person()
    a = await flow.client(ann).connect(CHAT)
    b = await flow.client(bob).connect(CHAT)
    assert (await a.call(CHAT, "chat:join_room", f"dm:{ann}:{bob}"))["ok"]
    assert (await b.call(CHAT, "chat:join_room", f"dm:{bob}:{ann}"))["ok"]
    await a.call(CHAT, "chat:send_message", {"roomId": f"dm:{bob}:{ann}", "text": "hi", "clientMsgId": new_id()})
    assert (await b.next("chat:new_message"))["text"] == "hi"


async def test_the_last_watcher_leaving_ends_the_watch(flow: Flow):
    ann, bob = await flow.person(), await flow.person()
    room = await flow.room(ann, bob)
    a = await flow.client(ann).connect(CHAT)
    b = await flow.client(bob).connect(CHAT)
    await a.call(CHAT, "chat:join_room", room)
    assert flow.edges[0].statistics()["keys"] == 2  # the room, and the topic that the edge itself watches
    await a.call(CHAT, "chat:leave_room", room)
    await b.call(CHAT, "chat:send_message", {"roomId": room, "text": "x", "clientMsgId": "x"})
    statistics = flow.edges[0].statistics()
    assert (statistics["keys"], statistics["deliveries_stray"]) == (1, 0)
