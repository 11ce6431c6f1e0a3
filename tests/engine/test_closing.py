"""How the server ends sockets: close codes, who is told to come back, and the shutdown of the whole engine."""

import asyncio
import itertools

import pytest

from cluster.kernel.errors import (
    INTERNAL,
    RECONNECT_ELSEWHERE,
    SERVER_SHUTDOWN,
    SESSION_REVOKED,
    TOKEN_EXPIRED,
    UNAUTHENTICATED,
    ErrorKind,
)
from realtime.engine.limits import EngineLimits
from tests.engine.harness import Closed, serve


@pytest.mark.parametrize("kind", [TOKEN_EXPIRED, RECONNECT_ELSEWHERE, SERVER_SHUTDOWN])
async def test_come_back_means_the_transport_alone(kind: ErrorKind) -> None:
    """A Socket.IO client reconnects by itself after a lost transport, and not after a DISCONNECT."""
    async with serve() as served:
        socket = await served.client()
        connection = await served.application.connections.get()
        connection.emit("last")
        connection.close(kind)
        connection.emit("too late")
        assert await socket.text() == '42["last"]'
        assert await socket.receive() == Closed(kind.close_code or 0, kind.code)
        assert await served.application.ended.get() == (connection, kind.code)


@pytest.mark.parametrize("kind", [SESSION_REVOKED, UNAUTHENTICATED])
async def test_do_not_come_back_means_a_disconnect_of_every_namespace_first(kind: ErrorKind) -> None:
    async with serve() as served:
        socket = await served.client()
        socket.send("40/custom")
        await socket.text()
        await socket.text()
        connection = await served.application.connections.get()
        connection.close(kind)
        assert {await socket.text(), await socket.text()} == {"41", "41/custom,"}
        assert await socket.receive() == Closed(kind.close_code or 0, kind.code)
        ended = [await served.application.ended.get() for _ in range(2)]
        assert {(gone.namespace, reason) for gone, reason in ended} == {("/", kind.code), ("/custom", kind.code)}
        assert served.application.ended.empty()


async def test_a_kind_without_a_close_code_is_an_internal_error() -> None:
    async with serve() as served:
        socket = await served.client()
        (await served.application.connections.get()).close(INTERNAL)
        assert await socket.closed() == Closed(1011, "internal")


async def test_the_end_is_told_in_a_turn_of_its_own() -> None:
    async with serve() as served:
        await served.client()
        connection = await served.application.connections.get()
        connection.close(SERVER_SHUTDOWN)
        connection.close(SESSION_REVOKED)
        assert served.application.ended.empty()
        assert not connection.is_open
        assert await served.application.ended.get() == (connection, "server_shutdown")
        assert served.application.ended.empty()


async def test_those_who_go_at_once_are_told_of_a_few_a_turn() -> None:
    async with serve() as served:
        for _ in range(100):
            await served.client()
        connections = [await served.application.connections.get() for _ in range(100)]
        for connection in connections:
            connection.close(SERVER_SHUTDOWN)
        seen = [0]
        while seen[-1] < 100:
            await asyncio.sleep(0)
            seen.append(served.application.ended.qsize())
        assert max(later - before for before, later in itertools.pairwise(seen)) <= 16
        assert [(await served.application.ended.get())[0] for _ in range(100)] == connections


async def test_closing_the_engine_closes_every_socket_and_takes_no_more() -> None:
    async with serve() as served:
        sockets = [await served.client() for _ in range(10)]
        poller = served.poller()
        await poller.connect()
        closing = asyncio.ensure_future(served.engine.close(SERVER_SHUTDOWN))
        for socket in sockets:
            assert await socket.closed() == Closed(3001, "server_shutdown")
        await closing
        assert (await poller.get())[0] == 400
        assert (await served.websocket()).status == 503
        assert served.application.ended.qsize() == 11
        statistics = served.engine.statistics()
        assert statistics["sockets"] == statistics["connections"] == statistics["timers"] == 0
        assert statistics["closes.server_shutdown"] == 11


async def test_closing_can_be_spread_so_that_clients_do_not_come_back_all_at_once() -> None:
    async with serve() as served:
        loop = asyncio.get_running_loop()
        sockets = [await served.client() for _ in range(10)]
        times: list[float] = []

        async def watch(index: int) -> None:
            await sockets[index].closed()
            times.append(loop.time())

        async def stand_still() -> None:
            nonlocal stood_s
            while True:
                due = loop.time() + 0.01
                await asyncio.sleep(0.01)
                stood_s += loop.time() - due

        stood_s = 0.0  # how late the loop itself was, which is not the engine's doing
        began = loop.time()
        clock = asyncio.ensure_future(stand_still())
        watchers = [asyncio.ensure_future(watch(index)) for index in range(len(sockets))]
        await served.engine.close(RECONNECT_ELSEWHERE, spread_s=0.5)
        await asyncio.gather(*watchers)
        clock.cancel()
        delays = sorted(time - began for time in times)
        assert delays[0] < 0.15 + stood_s
        assert 0.4 < delays[-1] < 0.8 + stood_s
        assert delays[4] < 0.35 + stood_s


async def test_closing_does_not_wait_for_clients_that_do_not_listen() -> None:
    async with serve(EngineLimits(close_timeout_ms=50)) as served:
        await served.client()
        async with asyncio.timeout(1.0):
            await served.engine.close(SERVER_SHUTDOWN)
        assert served.engine.statistics()["sockets_lingering"] == 0


async def test_closing_ends_admissions() -> None:
    async with serve(EngineLimits(close_timeout_ms=50)) as served:
        served.application.gate = asyncio.Event()
        socket = await served.session()
        socket.send("40")
        await served.application.asked.get()
        await served.engine.close(SERVER_SHUTDOWN)
        assert served.engine.statistics()["admissions"] == 0
        assert len(served.engine.runtime.tasks) == 0
