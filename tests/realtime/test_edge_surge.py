"""A surge on a whole edge: new work is refused with when to come back, accepted work is served, and it passes."""

import asyncio
import json

import aiohttp
import pytest
import socketio

from cluster.kernel.ids import new_id
from realtime.limits import Rate
from realtime.shedding import Pressure
from tests.realtime.harness import CHAT, EVENTS, Flow

HIGH = Pressure(0.0, 1.0, 0.0)


async def _ready(url: str) -> int:
    async with aiohttp.ClientSession() as http, http.get(f"{url}/readyz") as answer:
        return answer.status


async def test_an_edge_that_sheds_serves_whom_it_has_and_refuses_who_comes(flow: Flow):
    edge = await flow.add_edge("edge-1", recover_after_s=60.0)
    url = flow.urls["edge-1"]
    ann, bob = await flow.person(), await flow.person()
    room = await flow.room(ann, bob)
    client = await flow.client(ann, "edge-1").connect(CHAT)
    assert (await client.call(CHAT, "chat:join_room", room))["ok"]
    assert await _ready(url) == 200
    edge._shedding.observe(HIGH)
    assert await _ready(url) == 503

    async with aiohttp.ClientSession() as http, http.get(f"{url}/socket.io/?EIO=4&transport=polling") as answer:
        assert (answer.status, answer.headers["Retry-After"]) == (503, "30")
    with pytest.raises(socketio.exceptions.ConnectionError):
        await flow.client(bob, "edge-1").connect(CHAT)
    answers = await asyncio.gather(
        *(
            client.call(CHAT, "chat:send_message", {"roomId": room, "text": f"{n}", "clientMsgId": new_id()})
            for n in range(30)
        )
    )
    assert [answer["seq"] for answer in answers] == list(range(1, 31))
    assert [(await client.next("chat:new_message"))["seq"] for _ in answers] == list(range(1, 31))


async def test_a_socket_that_has_just_opened_is_refused_before_its_token_is_looked_at(flow: Flow):
    edge = await flow.add_edge("edge-1", recover_after_s=60.0)
    known = await flow.client(await flow.person(), "edge-1").connect(CHAT)
    url = f"{flow.urls['edge-1']}/socket.io/?EIO=4&transport=websocket"
    async with aiohttp.ClientSession() as http, http.ws_connect(url) as socket:
        assert (await socket.receive_str()).startswith("0{")
        edge._shedding.observe(HIGH)
        await socket.send_str('40/chat,{"token":"not a token"}')
        refusal = json.loads((await socket.receive_str()).removeprefix("44/chat,"))
        assert (refusal["data"]["code"], refusal["data"]["retryAfterMs"]) == ("overloaded", 30_000)
    await known.sio._send_packet(known.sio.packet_class(0, {"token": known.token}, namespace=EVENTS))
    async with asyncio.timeout(5):
        while edge.statistics()["connections"] < 2:  # noqa: ASYNC110 - a socket that is in may go on to another namespace
            await asyncio.sleep(0)


async def test_more_arrivals_than_the_rate_are_told_to_come_later_and_those_who_came_stay(flow: Flow):
    edge = await flow.add_edge("edge-1", arrivals=Rate(0.5, 3))
    clients = [await flow.client(await flow.person(), "edge-1").connect(CHAT) for _ in range(3)]
    for _ in range(5):
        with pytest.raises(socketio.exceptions.ConnectionError):
            await flow.client(await flow.person(), "edge-1").connect(CHAT)
    statistics = edge.statistics()
    assert (statistics["arrivals_refused"], statistics["admitted_sockets"]) == (5, 3)
    for client in clients:
        assert (await client.call(CHAT, "chat:history", {"roomId": "a" * 24}))["error"]["code"] == "room_not_found"
        assert client.sio.connected
