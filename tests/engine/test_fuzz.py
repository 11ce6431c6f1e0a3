"""Anything at all on the wire: the offender is closed with a code, nobody else notices, nothing is left behind.

The streams are grown from valid ones, because random bytes seldom come past the first check. Each example is one socket
of an engine that serves them all; an exception anywhere in the engine fails the test through the log.
"""

import asyncio
import base64
import logging
from collections.abc import Callable, Coroutine
from typing import Any

import msgpack
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from realtime.engine.limits import EngineLimits
from tests.engine.harness import Closed, Dropped, Served, eventually, frame_bytes, serve

_LIMITS = EngineLimits(
    connect_timeout_ms=2_000, close_timeout_ms=2_000, max_payload_bytes=5_000, max_packets_per_payload=20
)
_CODES = {*range(1000, 1015), *range(3000, 5000)}

_json_packets = st.sampled_from(
    ["40", "40/custom", '40{"a":1}', "41", "41/custom", '42["message",1]', '42/custom,["message"]', "43[]", "431[]",
     '427["message-with-ack"]', '451-["message",{"_placeholder":true,"num":0}]', '459-["message"]', "1", "2", "2probe",
     "3", "5", "6", "4", '42["disconnect"]', '42["message",[[[[]]]]]', '44{"message":"x"}', '42["\\ud800"]',
     '42["message",1e999]'],
)  # fmt: skip
_values = st.just("message") | st.integers(-(2**63), 2**64 - 1) | st.none()
_msgpack_packets = st.fixed_dictionaries(
    {"type": st.integers(-1, 6) | st.text(max_size=2), "nsp": st.sampled_from(["/", "/custom", "", 1])},
    optional={"data": st.just({}) | st.lists(_values, max_size=3), "id": st.integers(-1, 2**63)},
).map(msgpack.packb)


def _mutilated(valid: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    return st.one_of(
        valid,
        st.tuples(valid, st.integers(0, 40), st.binary(max_size=3)).map(lambda t: t[0][: t[1]] + t[2] + t[0][t[1] :]),
        st.tuples(valid, st.integers(0, 40)).map(lambda t: t[0][: t[1]]),
        st.binary(max_size=40),
    )


_texts = _mutilated(_json_packets.map(str.encode))
_binaries = _mutilated(_msgpack_packets)
_opcodes = st.sampled_from([0x81, 0x82, 0x81, 0x82, 0x01, 0x02, 0x80, 0x88, 0x89, 0x8A, 0xC1, 0x83, 0x09])
_frames = st.tuples(_opcodes, _texts | _binaries, st.sampled_from([True] * 9 + [False]))
_streams = st.lists(_frames.map(lambda f: frame_bytes(f[0], f[1], masked=f[2])), max_size=8).map(b"".join)
_payloads = st.lists(_texts | _binaries.map(lambda b: b"b" + base64.b64encode(b)), max_size=25).map(b"\x1e".join)
_paths = st.sampled_from(["/socket.io/", "/socket.io-msgpack/", "/engine.io/"])


class _Bench:
    """A served engine in a loop of its own, so that one engine takes all examples."""

    def __init__(self, runner: asyncio.Runner) -> None:
        self._runner = runner
        self._stack = serve(_LIMITS)
        self.served: Served = runner.run(self._stack.__aenter__())

    def run(self, work: Callable[[Served], Coroutine[Any, Any, None]]) -> None:
        self._runner.run(work(self.served))

    def close(self) -> None:
        self._runner.run(self._stack.__aexit__(None, None, None))


@pytest.fixture(scope="module")
def bench() -> Any:
    with asyncio.Runner() as runner:
        bench = _Bench(runner)
        yield bench
        bench.close()


@pytest.fixture(autouse=True)
def _nothing_is_logged_as_an_error(caplog: pytest.LogCaptureFixture) -> Any:
    yield
    assert [record.message for record in caplog.records if record.levelno >= logging.ERROR] == []


_settings = settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


@_settings
@given(_paths, st.binary(max_size=60) | _streams, st.integers(0, 40))
def test_any_websocket_stream(bench: _Bench, path: str, stream: bytes, cut: int) -> None:
    async def attack(served: Served) -> None:
        socket = await served.websocket(path)
        served.sockets.clear()
        socket.writer.write(stream[:cut])
        await asyncio.sleep(0)
        socket.writer.write(stream[cut:])
        socket.writer.write_eof()
        try:
            while not isinstance(message := await socket.receive(), Closed):
                pass
        except Dropped:
            pass
        else:
            assert message.code in _CODES
        socket.abort()
        await served.is_empty()

    bench.run(attack)


@_settings
@given(_paths, st.lists(_payloads, max_size=3))
def test_any_polling_payload(bench: _Bench, path: str, payloads: list[bytes]) -> None:
    async def attack(served: Served) -> None:
        poller = served.poller(path)
        await poller.open()
        for payload in payloads:
            status, _ = await poller.post(payload)
            assert status in (200, 400, 413)
        status, _ = await poller.post("0")
        assert status == 400
        async with asyncio.timeout(5):
            while (await poller.get())[0] == 200:
                pass
        await served.is_empty()

    bench.run(attack)


@_settings
@given(st.lists(st.binary(max_size=20) | _texts, max_size=5))
def test_any_upgrade_probe(bench: _Bench, packets: list[bytes]) -> None:
    async def attack(served: Served) -> None:
        poller = served.poller("/engine.io/")
        await poller.open()
        socket = await served.websocket("/engine.io/", f"EIO=4&transport=websocket&sid={poller.sid}")
        served.sockets.clear()
        for packet in packets:
            socket.send_frame(0x81, packet)
        socket.abort()
        session = served.engine.runtime.sessions.get(poller.sid)
        await eventually(lambda: session is None or not session.is_open or session.probe is None)
        if session is not None:
            session.transport.abort()
        await served.is_empty()

    bench.run(attack)


def test_an_honest_client_is_served_after_all_that(bench: _Bench) -> None:
    async def work(served: Served) -> None:
        socket = await served.client()
        socket.send('42["message","fine"]')
        assert await socket.text() == '42["message-back","fine"]'
        socket.send("1")
        await socket.closed()
        await served.is_empty()
        statistics = served.engine.statistics()
        assert statistics["timers"] == statistics["connections"] == statistics["admissions"] == 0
        assert statistics["application_errors"] == 0

    bench.run(work)
