"""Garbage at both ends of a link: nothing raises unhandled, nothing leaks, and the next peer is served.

Each example runs on a loop of its own, so these tests are not coroutines.
"""

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.link.frames import HEADER
from cluster.link.port import LinkLimits
from tests.link.doubles import RecordingListener, ScriptedService, a_link, a_server
from tests.link.raw import Stranger, framed
from tests.support.journal import Journal

SERVER_LIMITS = LinkLimits(max_frame_bytes=4_096)
CLIENT_LIMITS = LinkLimits(max_frame_bytes=4_096, handshake_timeout_s=0.02)

values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.text(max_size=8) | st.binary(max_size=8),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)
frame_like = st.builds(
    lambda kind, rest: framed(msgspec.msgpack.encode([kind, *rest])),
    st.integers(0, 9) | st.sampled_from(["hello", "challenge", "proof", "welcome"]),
    st.lists(values, max_size=5),
)
pieces = st.one_of(
    st.binary(max_size=64),
    st.binary(max_size=64).map(framed),
    frame_like,
    st.integers(0, 2**32 - 1).map(HEADER.pack),
)
garbage = st.lists(pieces, min_size=1, max_size=6)


def run(main: Coroutine[Any, Any, None]) -> None:
    problems: list[Any] = []

    async def watched() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: problems.append(context))
        async with asyncio.timeout(10):
            await main

    asyncio.run(watched())
    assert problems == []


@settings(max_examples=60, deadline=None)
@given(chunks=garbage, authenticated=st.booleans())
def test_garbage_at_a_server(chunks: list[bytes], authenticated: bool) -> None:
    async def attack() -> None:
        service = ScriptedService()
        server = a_server(service, limits=SERVER_LIMITS)
        address = await server.start("127.0.0.1")
        async with await Stranger.at(address) as stranger:
            if authenticated:
                await stranger.shake_hands()
            for chunk in chunks:
                stranger.send(chunk)
                await asyncio.sleep(0)
            with suppress(OSError):
                stranger._writer.write_eof()
            await stranger.until_closed()
        async with await Stranger.at(address) as peer:
            await peer.shake_hands(name="edge-1")
            peer.send_frame((1, 1, 1_000, "echo", 1))
            assert msgspec.msgpack.decode(await peer.receive()) == [2, 1, 1]
        await server.stop()
        statistics = server.statistics()
        assert (statistics.peers, statistics.pending_handshakes, statistics.unsent_bytes) == (0, 0, 0)
        entries = service.journal.entries
        assert service.peers == []
        assert [e[0] for e in entries].count("connected") == [e[0] for e in entries].count("lost")

    run(attack())


@settings(max_examples=40, deadline=None)
@given(chunks=garbage)
def test_garbage_at_a_client(chunks: list[bytes]) -> None:
    async def attack() -> None:
        accepted = Journal()

        async def talk_nonsense(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            for chunk in chunks:
                writer.write(chunk)
            accepted.add("dial")
            with suppress(ConnectionResetError):  # who hangs up with something unread resets
                await reader.read()
            writer.close()

        impostor = await asyncio.start_server(talk_nonsense, "127.0.0.1", 0)
        listener = RecordingListener()
        link = a_link(impostor.sockets[0].getsockname(), listener, limits=CLIENT_LIMITS)
        link.start()
        await accepted.has("dial", times=2)
        assert not link.is_connected
        await link.close()
        impostor.close()
        await asyncio.gather(*asyncio.all_tasks() - {asyncio.current_task()}, return_exceptions=True)
        assert listener.journal.entries == []

    run(attack())
