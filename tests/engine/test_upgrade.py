"""Engine.IO v4, upgrade: the probe, the change of transport without loss or disorder, and probes that go wrong."""

import asyncio
import json

import pytest

from cluster.kernel.errors import SERVER_SHUTDOWN
from realtime.engine.limits import EVERY_ORIGIN, EngineLimits
from tests.engine.harness import AT_ONCE_S, Closed, Poller, RawSocket, Served, eventually, serve

TURNED_AWAY = Closed(3501, "protocol_error")


async def _probe(served: Served, poller: Poller, path: str = "/engine.io/") -> RawSocket:
    return await served.websocket(path, f"EIO=4&transport=websocket&sid={poller.sid}")


async def _upgraded(served: Served, path: str = "/engine.io/") -> tuple[Poller, RawSocket]:
    poller = served.poller(path)
    await poller.open()
    socket = await _probe(served, poller, path)
    socket.send("2probe")
    assert await socket.text() == "3probe"
    socket.send("5")
    return poller, socket


async def test_from_polling_to_a_websocket() -> None:
    async with serve() as served:
        poller = served.poller("/engine.io/")
        await poller.open()
        socket = await _probe(served, poller)
        socket.send("2probe")
        assert await socket.text() == "3probe"
        assert await poller.get() == (200, "6")
        socket.send("5")
        socket.send("4hello")
        assert await socket.text() == "4hello"
        assert served.engine.statistics()["upgrades"] == 1


async def test_a_poll_that_waits_is_released_by_the_probe() -> None:
    async with serve() as served:
        poller = served.poller("/engine.io/")
        await poller.open()
        poll = asyncio.ensure_future(poller.get())
        session = served.engine.runtime.sessions[poller.sid]
        await eventually(lambda: session.transport.is_polled)
        socket = await _probe(served, poller)
        assert not poll.done()
        socket.send("2probe")
        assert await poll == (200, "6")


async def test_what_was_not_fetched_comes_by_the_websocket_in_order() -> None:
    async with serve() as served:
        poller = served.poller("/engine.io/")
        await poller.open()
        socket = await _probe(served, poller)
        socket.send("2probe")
        assert await socket.text() == "3probe"
        assert await poller.post("4one\x1e4two\x1ebAQI=") == (200, "ok")
        socket.send("5")
        socket.send("4three")
        assert [await socket.receive() for _ in range(4)] == ["4one", "4two", b"\x01\x02", "4three"]


async def test_polling_is_over_after_the_upgrade() -> None:
    async with serve() as served:
        poller, socket = await _upgraded(served)
        socket.send("4here")
        assert await socket.text() == "4here"
        assert (await poller.get())[0] == 400
        assert (await poller.post("4there"))[0] == 400
        socket.send("4still here")
        assert await socket.text() == "4still here"


async def test_a_second_websocket_for_one_session_is_opened_and_closed_and_costs_the_session_nothing() -> None:
    async with serve() as served:
        poller = served.poller("/engine.io/")
        await poller.open()
        socket = await _probe(served, poller)
        assert await (await _probe(served, poller)).closed(AT_ONCE_S) == TURNED_AWAY
        socket.send("2probe")
        assert await socket.text() == "3probe"
        assert await (await _probe(served, poller)).closed(AT_ONCE_S) == TURNED_AWAY
        socket.send("5")
        socket.send("4hello")
        assert await socket.text() == "4hello"
        assert await (await _probe(served, poller)).closed(AT_ONCE_S) == TURNED_AWAY
        socket.send("4hello again")
        assert await socket.text() == "4hello again"


async def test_a_websocket_for_a_websocket_session_is_opened_and_closed() -> None:
    async with serve() as served:
        socket = await served.websocket("/engine.io/")
        sid = json.loads((await socket.text())[1:])["sid"]
        second = await served.websocket("/engine.io/", f"EIO=4&transport=websocket&sid={sid}")
        assert await second.closed(AT_ONCE_S) == TURNED_AWAY
        socket.send("4hello")
        assert await socket.text() == "4hello"


@pytest.mark.parametrize("packets", [["5"], ["4hello"], ["2"], ["2probe", "2probe"], ["2probe", "4hello"], [b"binary"]])
async def test_a_probe_out_of_order_costs_only_its_own_websocket(packets: list[str | bytes]) -> None:
    async with serve() as served:
        poller = served.poller("/engine.io/")
        await poller.open()
        socket = await _probe(served, poller)
        for packet in packets:
            socket.send(packet)
        assert (await socket.closed()).code == 3501
        assert await poller.post("4alive") == (200, "ok")
        assert await poller.get() == (200, "4alive")
        socket = await _probe(served, poller)
        socket.send("2probe")
        assert await socket.text() == "3probe"


async def test_a_probe_that_stops_half_way_is_closed_and_the_session_lives_on() -> None:
    async with serve(EngineLimits(upgrade_timeout_ms=30, cors_allowed_origins=EVERY_ORIGIN)) as served:
        poller = served.poller("/engine.io/")
        await poller.open()
        socket = await _probe(served, poller)
        socket.send("2probe")
        assert await socket.text() == "3probe"
        assert (await socket.closed()).code == 1001
        poll = asyncio.ensure_future(poller.get())
        assert await poller.post("4alive") == (200, "ok")
        assert await poll == (200, "4alive")


async def test_a_probe_that_vanishes_leaves_the_session_alone() -> None:
    async with serve() as served:
        poller = served.poller("/engine.io/")
        await poller.open()
        session = served.engine.runtime.sessions[poller.sid]
        socket = await _probe(served, poller)
        socket.abort()
        await eventually(lambda: session.probe is None)
        assert await poller.post("4alive") == (200, "ok")
        assert await poller.get() == (200, "4alive")


async def test_a_session_that_ends_takes_its_probe_with_it() -> None:
    async with serve() as served:
        poller = served.poller()
        await poller.connect()
        socket = await _probe(served, poller, "/socket.io/")
        (await served.application.connections.get()).close(SERVER_SHUTDOWN)
        assert (await socket.closed()).code == 1001
        await served.is_empty()


async def test_a_connection_survives_the_upgrade() -> None:
    async with serve() as served:
        poller = served.poller()
        await poller.connect()
        connection = await served.application.connections.get()
        socket = await _probe(served, poller, "/socket.io/")
        socket.send("2probe")
        assert await socket.text() == "3probe"
        connection.emit("before")
        socket.send("5")
        socket.send('42["message","after"]')
        assert await socket.text() == '42["before"]'
        assert await socket.text() == '42["message-back","after"]'
        assert connection.is_open
        socket.send("1")
        assert await served.application.ended.get() == (connection, "transport_close")
