"""Any edge serves any request: clients behind a port that several edges share, without stickiness."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import cycle
from typing import Any

import aiohttp
import pytest

from cluster.kernel.clock import SystemClock
from realtime.engine.polling import PollingTransport
from realtime.forwarding import HopSigner
from tests.engine.harness import Poller, eventually
from tests.realtime.harness import CHAT, SECRET, Flow
from tests.support.node_client import NodeClient, needs_node
from tests.support.relay import Relay

pytestmark = pytest.mark.timeout(120)


def address(flow: Flow, name: str) -> tuple[str, int]:
    return "127.0.0.1", int(flow.urls[name].rpartition(":")[2])


async def talk(flow: Flow, url: str, count: int, **options: Any) -> list[NodeClient]:
    """People in one room who each say something and hear all of it."""
    people = [await flow.person() for _ in range(count)]
    room = await flow.room(*people)
    clients = []
    for person in people:
        clients.append(await flow.node_clients.start(url, auth={"token": flow.token(person)}, **options))
        assert (await clients[-1].ask("chat:join_room", room))["ok"]
    texts = [f"{number} {'x' * 3_000}" for number in range(count)]
    for client, text in zip(clients, texts, strict=True):
        message = {"roomId": room, "text": text, "clientMsgId": text[:8]}
        assert (await client.ask("chat:send_message", message))["ok"]
    for client in clients:
        await client.until(lambda client=client: len(client.events("chat:new_message")) >= count)
        assert [message["text"] for message in client.events("chat:new_message")] == texts
        assert [said for said in client.said if said["what"] == "disconnect"] == []
    return clients


async def upgraded(client: NodeClient) -> None:
    """Until it speaks over a websocket; the upgrade may be over before it is connected to its namespace."""
    async with asyncio.timeout(20):
        while await client.tell("transport") != "websocket":
            pass


@needs_node
@pytest.mark.parametrize("transports", [["polling"], ["polling", "websocket"]])
async def test_clients_of_a_port_that_two_edges_share(flow: Flow, transports: list[str]):
    _, port = address(flow, "edge-0")
    await flow.add_edge("edge-1", port=port)
    clients = await talk(flow, flow.urls["edge-0"], 4, transports=transports)
    for client in clients:
        if len(transports) == 2:
            await upgraded(client)
        await client.stop()


@needs_node
async def test_an_upgrade_that_lands_on_the_wrong_edge_is_served_there(flow: Flow):
    await flow.add_edge("edge-1")
    relay = Relay(address(flow, "edge-0"))
    relay.choose = lambda first: address(flow, "edge-1" if b"websocket" in first.lower() else "edge-0")
    host, port = await relay.start()
    clients = await talk(flow, f"http://{host}:{port}", 3, transports=["polling", "websocket"])
    for client in clients:
        await upgraded(client)
    right, wrong = (edge.statistics() for edge in flow.edges)
    assert (wrong["websockets_spliced"], wrong["sockets"]) == (3, 0)
    assert (right["sockets"], right["sockets_polling"]) == (3, 0)
    for client in clients:
        await client.stop()
    while flow.edges[0].statistics()["sockets"] or flow.edges[1].statistics()["websockets_spliced"]:  # noqa: ASYNC110
        await asyncio.sleep(0)
    await relay.stop()


@needs_node
async def test_a_spliced_client_comes_back_when_the_edge_between_drains(flow: Flow):
    await flow.add_edge("edge-1")
    relay = Relay(address(flow, "edge-0"))
    relay.choose = lambda first: address(flow, "edge-1" if b"websocket" in first.lower() else "edge-0")
    host, port = await relay.start()
    [client] = await talk(flow, f"http://{host}:{port}", 1, transports=["polling", "websocket"])
    await upgraded(client)
    relay.choose = None
    await client.next("connect")
    await flow.edges[1].drain(0.1)
    await client.next("disconnect")
    await client.next("connect")
    await client.stop()
    await relay.stop()


@needs_node
async def test_every_request_on_another_edge_than_the_one_before(flow: Flow):
    await flow.add_edge("edge-1")
    turns = cycle([address(flow, "edge-0"), address(flow, "edge-1")])
    relay = Relay(address(flow, "edge-0"))
    relay.choose = lambda first: next(turns)
    host, port = await relay.start()
    for client in await talk(flow, f"http://{host}:{port}", 3, transports=["polling"]):
        await client.stop()
    assert sum(edge.statistics()["requests_forwarded"] for edge in flow.edges) > 0
    await relay.stop()


async def test_a_session_of_an_edge_that_is_dead_or_unknown_is_unknown(flow: Flow):
    edge = await flow.add_edge("edge-1")
    await edge.stop()
    async with aiohttp.ClientSession() as http:
        for sid in ("edge-1~whoever", "edge-7~whoever", "host-0~whoever", "~", "edge-0~whoever", "%E2%9C%93~"):
            url = f"{flow.urls['edge-0']}/socket.io/?EIO=4&transport=polling&sid={sid}"
            async with http.get(f"{url}&t=1") as answer:
                assert (answer.status, (await answer.json())["code"]) == (400, 1)
            async with http.post(url, data="4") as answer:
                assert (answer.status, (await answer.json())["code"]) == (400, 1)


@asynccontextmanager
async def passed_on(flow: Flow) -> AsyncIterator[tuple[Poller, Poller, Relay, PollingTransport]]:
    """A session of edge-0 whose client reaches it through a relay and edge-1; the same client there directly."""
    await flow.add_edge("edge-1")
    relay = Relay(address(flow, "edge-1"))
    host, port = await relay.start()
    async with aiohttp.ClientSession() as http:
        direct = Poller(http, f"{flow.urls['edge-0']}/socket.io/")
        await direct.open()
        far = Poller(http, f"http://{host}:{port}/socket.io/")
        far.sid = direct.sid
        transport = flow.edges[0]._engine.runtime.sessions[direct.sid].transport
        assert isinstance(transport, PollingTransport)
        yield far, direct, relay, transport
        await relay.stop()


async def answered(flow: Flow, direct: Poller, transport: PollingTransport) -> None:
    """The poll that waits is answered, by its own edge."""
    await eventually(lambda: transport.is_polled)
    token = flow.token(await flow.person())
    assert await direct.post(f'40{CHAT},{{"token":"{token}"}}') == (200, "ok")
    await eventually(lambda: not transport.is_owed and not transport.is_polled)


async def test_what_an_edge_had_in_its_hands_when_it_was_killed_is_told_again(flow: Flow):
    async with passed_on(flow) as (far, direct, relay, transport):
        relay.stall(to_client=True)
        poll = asyncio.ensure_future(far.get("a"))
        await answered(flow, direct, transport)
        relay.point_at(address(flow, "edge-0"))
        relay.cut()
        relay.resume()
        status, told = await poll
        assert (status, told[:15]) == (200, f'40{CHAT},{{"sid":')


async def test_a_client_that_does_not_mark_its_polls_sees_that_the_answer_broke(flow: Flow):
    """Its HTTP library would repeat a request that was not answered at all, and hide it."""
    async with (
        passed_on(flow) as (far, direct, relay, transport),
        aiohttp.ClientSession() as http,
        http.get(far.target) as answer,
    ):
        relay.stall(to_client=True)
        await answered(flow, direct, transport)
        relay.cut()
        with pytest.raises(aiohttp.ClientPayloadError):
            await answer.read()


async def test_a_client_that_does_not_mark_its_polls_is_told_by_a_packet_when_its_edge_is_gone(flow: Flow):
    async with passed_on(flow) as (far, _, _, transport):
        poll = asyncio.ensure_future(far.get())
        await eventually(lambda: transport.is_polled)
        await flow.edges[0].stop()
        assert await poll == (200, "1")
        assert await far.get() == (200, "1")


async def test_polls_without_a_mark_are_passed_on_whole(flow: Flow):
    async with passed_on(flow) as (far, direct, _, transport):
        poll = asyncio.ensure_future(far.get())
        await answered(flow, direct, transport)
        status, told = await poll
        assert (status, told[:15]) == (200, f'40{CHAT},{{"sid":')
        assert await far.post(f'42{CHAT},1["chat:join_room","{"0" * 24}"]') == (200, "ok")
        assert (await far.get())[1].startswith(f'43{CHAT},1[{{"ok":false')


async def test_a_session_of_an_edge_that_has_just_come_up_is_found(flow: Flow):
    """The other edges have not looked at the view since."""
    slow = await flow.add_edge("edge-slow", looks_s=600.0)
    for lives in range(1, 3):
        edge = await flow.add_edge("edge-1")
        client = await flow.client(await flow.person(), "edge-1").connect(CHAT, transport="polling")
        async with aiohttp.ClientSession() as http:
            sid = client.sio.eio.sid
            url = f"{flow.urls['edge-slow']}/socket.io/?EIO=4&transport=polling&sid={sid}"
            async with http.post(url, data="3") as answer:
                assert (answer.status, await answer.text()) == (200, "ok")
        assert slow.statistics()["requests_forwarded"] == lives
        await client.close()
        await edge.stop()


async def test_a_client_cannot_claim_to_have_been_passed_on(flow: Flow):
    """What it says of it is ignored: it is passed on all the same, once, and its own address is what counts."""
    await flow.add_edge("edge-1")
    person = await flow.person()
    client = await flow.client(person).connect(CHAT, transport="polling")
    sid = client.sio.eio.sid
    forged = {"X-Flow-Forwarded": "edge-1", "X-Forwarded-For": "9.9.9.9"}
    async with aiohttp.ClientSession() as http:
        url = f"{flow.urls['edge-1']}/socket.io/?EIO=4&transport=polling&sid={sid}"
        async with http.post(url, data="3", headers=forged) as answer:
            assert (answer.status, await answer.text()) == (200, "ok")
    assert flow.edges[1].statistics()["requests_forwarded"] == 1
    assert flow.edges[0]._admission._by_address == {"127.0.0.1": 1}


async def test_behind_a_proxy_of_ones_own_it_is_the_proxy_that_names_the_client(flow: Flow):
    await flow.add_edge("edge-1", trusted_proxies=1)
    client = flow.client(await flow.person(), "edge-1")
    client.sio = type(client.sio)(reconnection=False)
    named = {"X-Forwarded-For": "6.6.6.6, 9.9.9.9"}
    await client.sio.connect(
        client.url, headers=named, auth={"token": client.token}, namespaces=[CHAT], transports=["websocket"]
    )
    assert flow.edges[1]._admission._by_address == {"9.9.9.9": 1}


def test_only_a_recent_hop_of_this_very_request_is_proven():
    signer = HopSigner(SECRET, SystemClock())
    proof = signer.sign("GET", "/socket.io/?sid=edge-0~a")
    assert signer.is_proven(proof, "GET", "/socket.io/?sid=edge-0~a")
    assert not signer.is_proven(proof, "POST", "/socket.io/?sid=edge-0~a")
    assert not signer.is_proven(proof, "GET", "/socket.io/?sid=edge-0~b")
    assert not HopSigner(b"another secret", SystemClock()).is_proven(proof, "GET", "/socket.io/?sid=edge-0~a")
    second, _, mac = proof.partition(".")
    for forged in ("", "edge-0", ".", f"{int(second) - 1}.{mac}", f"{second}.", f"²{second}.{mac}", f"{second}.é"):
        assert not signer.is_proven(forged, "GET", "/socket.io/?sid=edge-0~a")
