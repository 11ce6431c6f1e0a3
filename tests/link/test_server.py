"""A link server among strangers and peers that fall silent: it bounds, counts, and goes on serving."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack

import msgspec
import pytest

from cluster.kernel.errors import INTERNAL, PORT_IN_USE, FlowError
from cluster.link.port import LinkLimits
from cluster.link.server import LinkServer
from tests.link.doubles import LONG_S, RecordingListener, ScriptedService, a_link, a_server
from tests.link.raw import Stranger, framed
from tests.support.relay import Relay

Serve = Callable[..., Awaitable[tuple[LinkServer, ScriptedService, tuple[str, int]]]]


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    async with AsyncExitStack() as stack:

        async def serve_with(limits: LinkLimits | None = None) -> tuple[LinkServer, ScriptedService, tuple[str, int]]:
            service = ScriptedService()
            server = a_server(service, limits=limits)
            stack.push_async_callback(server.stop)
            return server, service, await server.start("127.0.0.1")

        yield serve_with


async def assert_serves(address: tuple[str, int]) -> None:
    async with await Stranger.at(address) as peer:
        await peer.shake_hands()
        peer.send_frame((1, 1, 1_000, "echo", "still here"))
        assert msgspec.msgpack.decode(await peer.receive()) == [2, 1, "still here"]


async def test_a_wrong_secret_is_cut_and_counted(serve: Serve) -> None:
    server, service, address = await serve()
    async with await Stranger.at(address) as stranger:
        with pytest.raises(asyncio.IncompleteReadError):
            await stranger.shake_hands(secret=b"a secret that was guessed")
    assert server.statistics().handshakes_failed == 1
    assert service.peers == []
    await assert_serves(address)


async def test_a_replayed_handshake_is_cut_and_counted(serve: Serve) -> None:
    server, service, address = await serve()
    async with await Stranger.at(address) as first:
        await first.shake_hands()
        async with await Stranger.at(address) as second:
            second.send(first.sent)
            await second.until_closed()
        assert [peer.name for peer in service.peers] == ["edge-9"]
    assert server.statistics().handshakes_failed == 1


async def test_a_slow_handshake_is_cut_and_counted(serve: Serve) -> None:
    server, _, address = await serve(LinkLimits(handshake_timeout_s=0.05))
    async with await Stranger.at(address) as stranger:
        stranger.send(b"\0")
        assert await stranger.until_closed() == b""
    statistics = server.statistics()
    assert (statistics.handshakes_timed_out, statistics.pending_handshakes) == (1, 0)
    await assert_serves(address)


async def test_a_stranger_may_send_tiny_frames_only(serve: Serve) -> None:
    server, _, address = await serve()
    async with await Stranger.at(address) as stranger:
        stranger.send(framed(b"x" * 1_025)[:4])
        await stranger.until_closed()
    assert server.statistics().handshakes_failed == 1


async def test_a_request_before_the_proof_is_cut(serve: Serve) -> None:
    server, service, address = await serve()
    async with await Stranger.at(address) as stranger:
        stranger.send_frame((1, 1, 1_000, "echo", None))
        await stranger.until_closed()
    assert server.statistics().handshakes_failed == 1
    assert service.journal.entries == []


async def test_connections_and_handshakes_are_bounded(serve: Serve) -> None:
    server, _, address = await serve(LinkLimits(max_pending_handshakes=2, max_connections=3))
    async with AsyncExitStack() as stack:
        for number in range(2):
            peer = await stack.enter_async_context(await Stranger.at(address))
            await peer.shake_hands(name=f"edge-{number}")
        waiting = await stack.enter_async_context(await Stranger.at(address))
        refused = await stack.enter_async_context(await Stranger.at(address))
        await refused.until_closed()
        statistics = server.statistics()
        assert (statistics.peers, statistics.pending_handshakes, statistics.connections_refused) == (2, 1, 1)
        await waiting.shake_hands(name="edge-2")


async def test_handshakes_are_bounded_on_their_own(serve: Serve) -> None:
    server, _, address = await serve(LinkLimits(max_pending_handshakes=1))
    async with await Stranger.at(address) as waiting, await Stranger.at(address) as refused:
        await refused.until_closed()
        assert server.statistics().connections_refused == 1
        await waiting.shake_hands()
    await assert_serves(address)


GARBAGE = {
    "no msgpack": framed(b"\xc1"),
    "nested": framed(b"\x93\x04\xa1t" + b"\x91" * 5_000 + b"\xc0"),
    "empty": framed(b""),
    "endless": b"\xff\xff\xff\xff",
    "a reply to a server": framed(b"\x93\x02\x01\xc0"),
}


@pytest.mark.parametrize("garbage", GARBAGE.values(), ids=GARBAGE)
async def test_a_peer_that_breaks_the_protocol_is_cut(serve: Serve, garbage: bytes) -> None:
    server, service, address = await serve()
    async with await Stranger.at(address) as peer:
        await peer.shake_hands()
        peer.send(garbage)
        await peer.until_closed()
    await service.journal.has(("lost", "edge-9"))
    assert server.statistics().protocol_violations == 1
    await assert_serves(address)


async def test_nothing_is_served_to_a_peer_that_was_closed_before(serve: Serve) -> None:
    _, service, address = await serve()
    async with await Stranger.at(address) as peer:
        await peer.shake_hands()
        service.peers[0].close("for the test")
        peer.send_frame((1, 1, 1_000, "echo", None))
        await peer.until_closed()
    await service.journal.has(("lost", "edge-9"))
    assert ("request", "echo", None) not in service.journal.entries


async def test_a_silent_peer_is_cut_and_counted(serve: Serve) -> None:
    server, service, address = await serve(LinkLimits(ping_interval_s=0.05, ping_timeout_s=0.12))
    async with await Stranger.at(address) as peer:
        await peer.shake_hands()
        await peer.until_closed()
    await service.journal.has(("lost", "edge-9"))
    assert server.statistics().silent_peers_closed == 1


async def test_both_ends_notice_a_link_cut_one_way(serve: Serve) -> None:
    limits = LinkLimits(ping_interval_s=0.05, ping_timeout_s=0.12)
    for direction in ({"to_target": True}, {"to_client": True}):
        _, service, address = await serve(limits)
        relay = Relay(address)
        listener = RecordingListener()
        link = a_link(await relay.start(), listener, limits=limits)
        link.start()
        await listener.journal.has("connected")
        relay.stall(**direction)
        await listener.journal.has("disconnected")
        await service.journal.has(("lost", "edge-0"))
        await link.close()
        await relay.stop()


async def test_a_port_in_use_is_a_typed_error(serve: Serve) -> None:
    _, service, (host, port) = await serve()
    second = a_server(service)
    with pytest.raises(FlowError) as caught:
        await second.start(host, port)
    assert caught.value.kind is PORT_IN_USE
    await second.stop()


async def test_stopping_sends_what_was_sent_and_tells_the_service(serve: Serve) -> None:
    server, service, address = await serve()
    listener = RecordingListener()
    link = a_link(address, listener)
    link.start()
    await listener.journal.has("connected")
    call = link.call("keep", None, LONG_S)
    await service.journal.has(("request", "keep", None))
    service.kept[0].reply("just in time")
    service.peers[0].push("last", 1)
    await server.stop()
    await server.stop()
    assert msgspec.msgpack.decode(await call) == "just in time"
    await listener.journal.has(("last", 1))
    assert service.journal.entries[-1] == ("lost", "edge-0")
    await link.close()


async def test_stopping_does_not_wait_for_a_peer_that_reads_nothing(serve: Serve) -> None:
    server, service, address = await serve()
    async with await Stranger.at(address) as peer:
        await peer.shake_hands()
        peer._reader._transport.pause_reading()
        for _ in range(40):
            assert service.peers[0].push("t", b"\0" * (1 << 20))
        async with asyncio.timeout(5):
            await server.stop()
    assert service.journal.entries[-1] == ("lost", "edge-9")


async def test_only_the_first_answer_leaves(serve: Serve) -> None:
    server, service, address = await serve()
    async with await Stranger.at(address) as peer:
        await peer.shake_hands()
        for number in range(2):
            peer.send_frame((1, number, 1_000, "keep", None))
        await service.journal.has(("request", "keep", None), times=2)
        answered, refused = service.kept
        answered.reply("first")
        answered.reply("second")
        answered.fail(FlowError(INTERNAL))
        refused.fail(FlowError(INTERNAL))
        refused.reply("second")
        assert msgspec.msgpack.decode(await peer.receive()) == [2, 0, "first"]
        assert msgspec.msgpack.decode(await peer.receive())[:2] == [3, 1]
    statistics = server.statistics()
    assert (statistics.replies, statistics.errors) == (1, 1)


async def test_the_numbers_add_up(serve: Serve) -> None:
    server, service, address = await serve()
    listener = RecordingListener()
    link = a_link(address, listener)
    link.start()
    await listener.journal.has("connected")
    link.note("n", 1)
    await link.call("push", ["a", "b"], LONG_S)
    with pytest.raises(FlowError):
        await link.call("refuse", "internal", LONG_S)
    cancelled = link.call("keep", None, LONG_S)
    cancelled.cancel()
    await service.journal.has(("request", "keep", None))
    served, asked = server.statistics(), link.statistics()
    assert (served.peers, served.connections_accepted) == (1, 1)
    assert (served.requests, served.replies, served.errors, served.notes, served.pushes) == (3, 1, 1, 1, 2)
    assert (asked.requests, asked.notes, asked.pushes, asked.requests_cancelled) == (3, 1, 2, 1)
    assert (asked.is_connected, asked.connections, asked.outstanding) == (True, 1, 0)
    await link.close()
