"""How a connection is admitted: what waits meanwhile, how it is refused, and who is told when it ends half-way."""

import asyncio

import pytest

from cluster.kernel.errors import FORBIDDEN, OVERLOADED, SLOW_CONSUMER, FlowError
from realtime.engine.limits import EVERY_ORIGIN, EngineLimits
from tests.engine.harness import AT_ONCE_S, Closed, serve

_VIOLATION = Closed(3501, "protocol_error")


async def test_events_wait_for_the_admission_and_come_in_order() -> None:
    async with serve() as served:
        served.application.gate = asyncio.Event()
        socket = await served.session()
        socket.send("40")
        connection = await served.application.asked.get()
        connection.emit("before anything")
        socket.send('42["message",1]')
        socket.send('42["message",2]')
        socket.send("40/random")
        assert (await socket.text()).startswith("44/random")
        assert served.application.events.empty()
        assert served.engine.statistics()["admissions"] == 1
        served.application.gate.set()
        assert (await socket.text()).startswith('40{"sid"')
        assert [await socket.text() for _ in range(4)] == [
            '42["before anything"]',
            '42["auth",{}]',
            '42["message-back",1]',
            '42["message-back",2]',
        ]
        assert served.engine.statistics()["admissions"] == 0


async def test_too_many_events_before_the_admission_close_the_socket() -> None:
    async with serve(EngineLimits(max_events_waiting_for_connect=3)) as served:
        served.application.gate = asyncio.Event()
        socket = await served.session()
        socket.send("40")
        for number in range(4):
            socket.send(f'42["message",{number}]')
        assert await socket.closed(AT_ONCE_S) == _VIOLATION


async def test_too_many_messages_to_a_connection_that_is_not_admitted_close_it() -> None:
    async with serve() as served:
        served.application.gate = asyncio.Event()
        socket = await served.session()
        socket.send("40")
        connection = await served.application.asked.get()
        while connection.is_open:
            connection.emit("x")
        assert await socket.closed() == Closed(SLOW_CONSUMER.close_code or 0, "slow_consumer")


async def test_a_second_connect_while_the_first_is_pending_closes_the_socket() -> None:
    async with serve() as served:
        served.application.gate = asyncio.Event()
        socket = await served.session()
        socket.send("40")
        socket.send("40")
        assert await socket.closed(AT_ONCE_S) == _VIOLATION


async def test_a_refusal_tells_why_and_the_client_may_ask_again() -> None:
    async with serve() as served:
        served.application.refusal = FlowError(FORBIDDEN, "Not here.", retry_after_ms=5)
        socket = await served.session()
        socket.send("40/custom,{}")
        socket.send('42/custom,["dropped"]')
        assert await socket.text() == (
            '44/custom,{"message":"Not here.","data":'
            '{"code":"forbidden","message":"Not here.","retryable":false,"retryAfterMs":5}}'
        )
        served.application.refusal = None
        socket.send("40/custom,{}")
        assert (await socket.text()).startswith('40/custom,{"sid"')
        assert served.application.events.empty()


async def test_a_refused_client_that_does_nothing_more_is_closed() -> None:
    async with serve(EngineLimits(connect_timeout_ms=100)) as served:
        served.application.refusal = FlowError(FORBIDDEN)
        socket = await served.session()
        socket.send("40")
        await socket.text()
        assert (await socket.closed(1.0)).reason == "stale"


async def test_an_admission_that_takes_too_long_is_refused() -> None:
    async with serve(EngineLimits(connect_timeout_ms=100, cors_allowed_origins=EVERY_ORIGIN)) as served:
        served.application.gate = asyncio.Event()
        socket = await served.session()
        socket.send("40")
        assert '"code":"deadline_exceeded"' in await socket.text()


async def test_a_mistake_in_the_admission_is_an_internal_error(caplog: pytest.LogCaptureFixture) -> None:
    async with serve() as served:

        async def connect(connection: object, handshake: object) -> None:
            raise RuntimeError("a mistake of the application")

        served.application.connect = connect  # type: ignore[method-assign]
        socket = await served.session()
        socket.send("40")
        answer = await socket.text()
        assert answer.startswith("44{")
        assert '"code":"internal"' in answer
        assert "of the application" not in answer
        assert "a mistake of the application" in caplog.text


async def test_an_engine_with_its_hands_full_refuses() -> None:
    async with serve(EngineLimits(max_sockets=2, cors_allowed_origins=EVERY_ORIGIN)) as served:
        served.application.gate = asyncio.Event()
        socket = await served.session()
        for packet in ("40", "40/custom"):
            socket.send(packet)
        other = await served.session()
        other.send("40")
        assert f'"code":"{OVERLOADED.code}"' in await other.text()


async def test_a_client_that_leaves_while_it_is_admitted() -> None:
    """It was admitted, so the application is told of its end; once, and after the admission."""
    async with serve() as served:
        gate = served.application.gate = asyncio.Event()
        socket = await served.session()
        socket.send("40")
        connection = await served.application.asked.get()
        socket.send("1")
        await socket.closed()
        assert not connection.is_open
        assert served.application.ended.empty()
        gate.set()
        assert await served.application.connections.get() is connection
        assert await served.application.ended.get() == (connection, "transport_close")
        assert served.application.ended.empty()
        assert served.engine.statistics()["connections"] == 0


async def test_a_client_that_leaves_and_is_refused_was_never_there() -> None:
    async with serve() as served:
        gate = served.application.gate = asyncio.Event()
        served.application.refusal = FlowError(FORBIDDEN)
        socket = await served.session()
        socket.send("40")
        await served.application.asked.get()
        socket.send("41")
        for namespace in ("/first", "/second"):
            socket.send("40" + namespace)
            assert (await socket.text()).startswith("44" + namespace)
            gate.set()
        assert served.application.ended.empty()
