"""An edge that drains: its clients are told when, answered what they asked, closed with 3011, and go on elsewhere."""

import asyncio
import random

import aiohttp
import pytest
import socketio
from hypothesis import given
from hypothesis import strategies as st

from realtime.draining import closing_times
from tests.realtime.harness import CHAT, EVENTS, NOTIFICATIONS, Flow
from tests.support.node_client import needs_node
from tests.support.relay import Relay


@given(st.integers(1, 2_000), st.integers(0, 600_000).map(lambda ms: ms / 1000), st.integers())
def test_closing_times_are_spread_evenly_with_a_jitter(sockets: int, spread_s: float, seed: int):
    times = closing_times(sockets, spread_s, random.Random(seed))
    assert len(times) == sockets
    assert times == sorted(times)
    slice_s = spread_s / sockets
    for place, at in enumerate(times):
        assert place * slice_s * (1 - 1e-9) <= at <= (place + 1) * slice_s * (1 + 1e-9)


async def test_everybody_is_told_in_each_namespace_and_then_closed(flow: Flow):
    edge = flow.edges[0]
    clients = [await flow.client(await flow.person()).connect(CHAT, EVENTS, NOTIFICATIONS) for _ in range(4)]
    await edge.drain(1.0)
    for client in clients:
        await client.next("disconnect")
        told = {(namespace, name): body for namespace, name, body in client.heard if name == "server:draining"}
        assert {namespace for namespace, _ in told} == {CHAT, EVENTS, NOTIFICATIONS}
        [left_ms] = {body["reconnectInMs"] for body in told.values()}
        assert 0 <= left_ms <= 1_000
    statistics = edge.statistics()
    assert statistics["sockets"] == statistics["admitted_sockets"] == statistics["requests_under_way"] == 0


async def test_a_draining_edge_takes_no_new_socket_and_keeps_no_connection(flow: Flow):
    edge, url = flow.edges[0], flow.urls["edge-0"]
    await flow.client(await flow.person()).connect(CHAT)
    async with aiohttp.ClientSession() as http:
        async with http.get(f"{url}/healthz") as alive:
            assert alive.headers.get("Connection") != "close"
        draining = asyncio.ensure_future(edge.drain(2.0))
        while not edge._is_draining:  # noqa: ASYNC110 - it begins in a loop turn or two
            await asyncio.sleep(0)
        # The same connection as before: the port itself is closed.
        async with http.get(f"{url}/socket.io/?EIO=4&transport=polling") as refused:
            assert refused.status == 503
            assert refused.headers["Connection"] == "close"
        late = flow.client(await flow.person())
        with pytest.raises(socketio.exceptions.ConnectionError):
            await late.connect(CHAT)
        async with http.get(f"http://127.0.0.1:{edge.private_port}/readyz") as ready:
            assert ready.status == 503
        await draining


@pytest.mark.parametrize("transport", ["websocket", "polling"])
async def test_what_was_accepted_is_answered_before_the_end(flow: Flow, transport: str):
    ann = await flow.person()
    room = await flow.room(ann)
    client = await flow.client(ann).connect(CHAT, transport=transport)
    await client.call(CHAT, "chat:join_room", room)
    await flow.hosts[0].kill()
    message = {"roomId": room, "text": "hold on", "clientMsgId": "1"}
    asked = asyncio.ensure_future(client.call(CHAT, "chat:send_message", message))
    edge = flow.edges[0]
    while not edge.router.statistics()["commands_under_way"]:  # noqa: ASYNC110 - it is on its way
        await asyncio.sleep(0)
    draining = asyncio.ensure_future(edge.drain(20.0))
    [socket] = edge._sockets.all()
    socket.is_leaving = True
    refused = await client.call(CHAT, "chat:send_message", {**message, "clientMsgId": "2"})
    assert (refused["error"]["code"], refused["error"]["retryable"]) == ("reconnect_elsewhere", True)
    await flow.add_host("host-0")
    assert (await asked)["ok"]
    draining.cancel()


async def test_one_who_waits_for_an_answer_too_long_is_closed_all_the_same(flow: Flow):
    ann = await flow.person()
    room = await flow.room(ann)
    client = await flow.client(ann).connect(CHAT)
    await flow.hosts[0].kill()
    message = {"roomId": room, "text": "hold on", "clientMsgId": "1"}
    asked = asyncio.ensure_future(client.call(CHAT, "chat:send_message", message))
    while not flow.edges[0].router.statistics()["commands_under_way"]:  # noqa: ASYNC110 - it is on its way
        await asyncio.sleep(0)
    await flow.edges[0].drain(0.5)
    await client.next("disconnect")
    asked.cancel()


@needs_node
@pytest.mark.parametrize("transport", ["websocket", "polling"])
async def test_the_javascript_client_goes_on_at_another_edge(flow: Flow, transport: str):
    await flow.add_edge("edge-1")
    ann, bob = await flow.person(), await flow.person()
    room = await flow.room(ann, bob)
    a = await flow.client(ann, "edge-1").connect(CHAT)

    def address(name: str) -> tuple[str, int]:
        return "127.0.0.1", int(flow.urls[name].rpartition(":")[2])

    relay = Relay(address("edge-0"))
    host, port = await relay.start()
    auth = {"token": flow.token(bob), "recover": True}
    b = await flow.node_clients.start(f"http://{host}:{port}", auth=auth, transports=[transport])
    first = await b.next("connect")
    assert (await b.ask("chat:join_room", room))["ok"]
    relay.point_at(address("edge-1"))
    draining = asyncio.ensure_future(flow.edges[0].drain(2.0))
    for number in range(20):
        message = {"roomId": room, "text": str(number), "clientMsgId": str(number)}
        assert (await a.call(CHAT, "chat:send_message", message))["ok"]
    gone = await b.next("disconnect")
    if transport == "websocket":
        assert (gone["reason"], gone["code"]) == ("transport close", 3011)
    else:  # one that was between two polls finds its session gone
        assert gone["reason"] in ("transport close", "transport error")
    back = await b.next("connect")
    assert (back["recovered"], back["id"]) == (True, first["id"])
    assert len(b.events("server:draining")) == 1
    await b.until(lambda: len(b.events("chat:new_message")) >= 20)
    assert [message["text"] for message in b.events("chat:new_message")] == [str(number) for number in range(20)]
    await draining
    assert flow.edges[0].statistics()["sockets"] == 0
    await b.stop()
    await relay.stop()
