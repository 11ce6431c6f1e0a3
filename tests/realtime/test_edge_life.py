"""An edge that cannot start says why and leaves nothing behind."""

import asyncio
import contextlib
import itertools
import socket

import pytest

from cluster.kernel.errors import PORT_IN_USE, UNAVAILABLE, FlowError
from tests.realtime.harness import CHAT, Flow


async def test_a_port_in_use_is_named_and_the_edge_can_be_stopped():
    flow = Flow()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(FlowError) as caught:
            await flow.add_edge(port=taken.getsockname()[1])
    assert caught.value.kind is PORT_IN_USE
    await flow.stop()
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_an_edge_that_cannot_read_the_view_does_not_start():
    flow = Flow()
    flow.views.away = True
    with pytest.raises(FlowError) as caught:
        await flow.add_edge()
    assert caught.value.kind is UNAVAILABLE
    await flow.stop()
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_stopping_with_people_on_it_ends_every_task_and_may_be_repeated():
    flow = Flow()
    await flow.add_host("host-0")
    edge = await flow.add_edge()
    client = await flow.client(await flow.person()).connect(CHAT)
    await edge.stop()
    await client.next("disconnect")
    await client.close()
    statistics = edge.statistics()
    assert statistics["sockets"] == statistics["admitted_sockets"] == statistics["connections_joined"] == 0
    await edge.stop()
    await flow.stop()
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_an_edge_serves_on_while_the_view_cannot_be_read(flow: Flow):
    ann = await flow.person()
    room = await flow.room(ann)
    flow.views.away = True
    client = await flow.client(ann).connect(CHAT)
    assert (await client.call(CHAT, "chat:join_room", room))["ok"]
    sent = await client.call(CHAT, "chat:send_message", {"roomId": room, "text": "x", "clientMsgId": "1"})
    assert sent["ok"]


@pytest.mark.parametrize("turns", range(5))
async def test_a_connection_that_comes_as_the_edge_stops_is_ended(turns: int):
    """Not left open, nor to the garbage collector, at whatever turn of the loop it was accepted."""
    flow = Flow()
    edge = await flow.add_edge()
    port = int(flow.urls["edge-0"].rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), timeout=10) as late:
        for _ in range(turns):
            await asyncio.sleep(0)
        await edge.stop()
        with contextlib.suppress(ConnectionResetError):
            assert await asyncio.to_thread(late.recv, 1) == b""
    await flow.stop()


async def test_a_crowd_that_dials_at_once_is_let_in_several_a_turn(flow: Flow):
    port = int(flow.urls["edge-0"].rpartition(":")[2])
    crowd = [socket.create_connection(("127.0.0.1", port)) for _ in range(64)]
    let_in = [0]
    while let_in[-1] < len(crowd):
        await asyncio.sleep(0)
        let_in.append(round(flow.edges[0].statistics()["connections_arriving"]))
    assert max(later - before for before, later in itertools.pairwise(let_in)) == 8
    for connection in crowd:
        connection.close()
