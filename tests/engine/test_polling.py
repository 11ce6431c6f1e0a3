"""Engine.IO v4, long polling: payloads, their limits, one GET and one POST at a time, closing."""

import asyncio

import pytest

from cluster.kernel.errors import SERVER_SHUTDOWN, SESSION_REVOKED
from realtime.engine.limits import EVERY_ORIGIN, EngineLimits
from tests.engine.harness import PATIENCE_S, Poller, Served, eventually, serve

_SMALL = EngineLimits(max_payload_bytes=1_000, max_packets_per_payload=10, cors_allowed_origins=EVERY_ORIGIN)


async def _is_polled(served: Served, poller: Poller) -> None:
    """Wait until the session's GET has arrived."""
    session = served.engine.runtime.sessions[poller.sid]
    await eventually(lambda: session.transport.is_polled)


@pytest.mark.parametrize("payload", ["4hello", "4test1\x1e4test2\x1e4test3", "4hello\x1ebAQIDBA==", "4é\x1e4"])
async def test_what_is_posted_is_echoed_in_one_payload(payload: str) -> None:
    async with serve() as served:
        poller = served.poller("/engine.io/")
        await poller.open()
        assert await poller.post(payload) == (200, "ok")
        assert await poller.get() == (200, payload)


async def test_a_poll_waits_for_something_to_tell() -> None:
    async with serve() as served:
        poller = served.poller("/engine.io/")
        await poller.open()
        poll = asyncio.ensure_future(poller.get())
        await _is_polled(served, poller)
        assert await poller.post("4a\x1e4b") == (200, "ok")
        assert await poll == (200, "4a\x1e4b")


@pytest.mark.parametrize(
    "payload",
    ["abc", "", "4a\x1e", "4a\x1e\x1e4b", "2", "2probe", "5", "0{}", "bnot base64", "bAQ", "b\u00e9", b"4\xff",
     "\x1e".join(["4"] * 11)],
)  # fmt: skip
async def test_a_payload_that_breaks_the_protocol_closes_the_session(payload: str | bytes) -> None:
    async with serve(_SMALL) as served:
        poller = served.poller("/engine.io/")
        await poller.open()
        assert (await poller.post(payload))[0] == 400
        assert (await poller.get())[0] == 400
        await served.is_empty()


async def test_a_payload_over_the_limit_closes_the_session() -> None:
    async with serve(_SMALL) as served:
        poller = served.poller("/engine.io/")
        await poller.open()
        assert (await poller.post("4" + "x" * 999))[0] == 200
        assert (await poller.get())[0] == 200
        assert (await poller.post("4" + "x" * 1_000))[0] == 413
        assert (await poller.get())[0] == 400


async def test_a_payload_over_the_limit_is_refused_though_its_length_is_not_told() -> None:
    async def chunks() -> object:
        for _ in range(100):
            yield b"4" * 100

    async with serve(_SMALL) as served:
        poller = served.poller("/engine.io/")
        await poller.open()
        async with served.http.post(poller.target, data=chunks()) as response:
            assert response.status == 413
        assert (await poller.get())[0] == 400


async def test_a_second_poll_closes_the_session() -> None:
    async with serve() as served:
        poller = served.poller("/engine.io/")
        await poller.open()
        first = asyncio.ensure_future(poller.get())
        await _is_polled(served, poller)
        assert (await poller.get())[0] == 400
        assert await first == (200, "1")
        assert (await poller.get())[0] == 400
        await served.is_empty()


async def test_a_second_post_closes_the_session() -> None:
    arrived = asyncio.Event()
    go_on = asyncio.Event()

    async def slow_body() -> object:
        yield b"4begin"
        arrived.set()
        await go_on.wait()
        yield b"end"

    async with serve() as served:
        poller = served.poller("/engine.io/")
        await poller.open()
        session = served.engine.runtime.sessions[poller.sid]

        async def post_slowly() -> int:
            async with served.http.post(poller.target, data=slow_body()) as response:
                return response.status

        first = asyncio.ensure_future(post_slowly())
        await arrived.wait()
        await eventually(lambda: session.transport.is_posting)
        assert (await poller.post("4second"))[0] == 400
        go_on.set()
        await first
        assert (await poller.get())[0] == 400


async def test_a_cancelled_poll_closes_the_session() -> None:
    async with serve() as served:
        poller = served.poller("/engine.io/")
        await poller.open()
        poll = asyncio.ensure_future(poller.get())
        await _is_polled(served, poller)
        poll.cancel()
        await asyncio.gather(poll, return_exceptions=True)
        assert (await poller.get())[0] == 400


async def test_a_lost_poll_is_noticed_when_something_is_sent() -> None:
    async with serve() as served:
        poller = served.poller()
        await poller.connect()
        connection = await served.application.connections.get()
        poll = asyncio.ensure_future(poller.get())
        await _is_polled(served, poller)
        poll.cancel()
        await asyncio.gather(poll, return_exceptions=True)
        session = served.engine.runtime.sessions[poller.sid]
        async with asyncio.timeout(PATIENCE_S):
            while session.is_open:
                connection.emit("x")
                await asyncio.sleep(0)
            assert await served.application.ended.get() == (connection, "transport_close")


async def test_the_client_closes() -> None:
    async with serve() as served:
        poller = served.poller("/engine.io/")
        await poller.open()
        poll = asyncio.ensure_future(poller.get())
        await _is_polled(served, poller)
        assert await poller.post("1") == (200, "ok")
        assert await poll == (200, "6")
        assert (await poller.get())[0] == 400
        await served.is_empty()


async def test_a_poll_that_waits_is_told_of_the_end() -> None:
    async with serve() as served:
        poller = served.poller()
        await poller.connect()
        connection = await served.application.connections.get()
        poll = asyncio.ensure_future(poller.get())
        await _is_polled(served, poller)
        connection.close(SERVER_SHUTDOWN)
        assert await poll == (200, "1")
        assert (await poller.get())[0] == 400
        assert await served.application.ended.get() == (connection, "server_shutdown")


async def test_a_client_that_must_not_come_back_can_still_fetch_that() -> None:
    async with serve() as served:
        poller = served.poller()
        await poller.connect()
        connection = await served.application.connections.get()
        connection.emit("last")
        connection.close(SESSION_REVOKED)
        assert await poller.post('42["too late"]') == (200, "ok")
        assert await poller.get() == (200, '42["last"]\x1e41')
        assert await poller.get() == (200, "1")
        assert served.application.events.empty()
        assert (await poller.get())[0] == 400
        await served.is_empty()


async def test_an_answer_holds_no_more_packets_than_a_client_can_take() -> None:
    async with serve(EngineLimits(max_packets_per_poll=3)) as served:
        poller = served.poller()
        await poller.connect()
        connection = await served.application.connections.get()
        for number in range(5):
            connection.emit(str(number))
        connection.emit("b", b"\1", b"\2", b"\3")
        connection.emit("last")
        connection.close(SESSION_REVOKED)
        answers = []
        while (answer := await poller.get())[0] == 200:
            answers.append([packet[:5] for packet in answer[1].split("\x1e")])
        assert answers == [['42["0', '42["1', '42["2'], ['42["3', '42["4'], ["453-[", "bAQ==", "bAg==", "bAw=="],
                           ['42["l', "41"], ["1"]]  # fmt: skip
        await served.is_empty()


async def test_a_client_that_has_seen_its_disconnect_may_close() -> None:
    async with serve() as served:
        poller = served.poller()
        await poller.connect()
        (await served.application.connections.get()).close(SESSION_REVOKED)
        assert await poller.get() == (200, "41")
        assert await poller.post("1") == (200, "ok")
        assert (await poller.get())[0] == 400
        await served.is_empty()


async def test_nobody_fetches_the_end() -> None:
    async with serve(EngineLimits(close_timeout_ms=20)) as served:
        poller = served.poller()
        await poller.connect()
        (await served.application.connections.get()).close(SESSION_REVOKED)
        await served.is_empty()
        assert (await poller.get())[0] == 400


async def test_a_client_that_does_not_poll_is_closed_when_its_outbox_is_full() -> None:
    async with serve(EngineLimits(max_outbox_bytes=10_000)) as served:
        poller = served.poller()
        await poller.connect()
        connection = await served.application.connections.get()
        for _ in range(20):
            connection.emit("x", "y" * 1_000)
        assert not connection.is_open
        assert await served.application.ended.get() == (connection, "slow_consumer")
        assert (await poller.get())[0] == 400


async def test_one_message_larger_than_the_outbox_still_goes_out() -> None:
    async with serve(EngineLimits(max_outbox_bytes=10_000)) as served:
        poller = served.poller()
        await poller.connect()
        (await served.application.connections.get()).emit("x", "y" * 20_000)
        status, body = await poller.get()
        assert (status, len(body)) == (200, 20_000 + len('42["x",""]'))
