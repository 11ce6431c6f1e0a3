"""A link that keeps itself alive: where it dials, when, and what it refuses."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from cluster.kernel.errors import OVERLOADED, FlowError
from cluster.kernel.wire import decode
from cluster.link.client import FIRST_DELAY_S, LONGEST_DELAY_S, ReconnectingLink, back_off_s
from cluster.link.port import LinkLimits
from tests.link.doubles import LONG_S, RecordingListener, ScriptedService, a_link, a_server
from tests.support.journal import Journal
from tests.support.relay import Relay


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as entered:
        yield entered


NOWHERE = ("127.0.0.1", 1)
"""A port that nothing listens on."""


class Patient(random.Random):
    """Jitter so large that only someone in a hurry ends the wait."""

    def uniform(self, a: float, b: float) -> float:
        return 1e6


class Dials:
    """An address provider that knows how often it was asked, which is once for each dial."""

    def __init__(self, address: tuple[str, int]) -> None:
        self._address = address
        self._journal = Journal()

    def __call__(self) -> tuple[str, int]:
        self._journal.add("dial")
        return self._address

    async def have_failed(self, link: ReconnectingLink, times: int) -> str:
        """Wait until so many have failed; returns why the last one did."""
        await self._journal.has("dial", times=times + 1)
        assert link.statistics().dials_failed == times
        return link.statistics().last_failure


async def test_it_finds_a_server_that_came_back_on_another_port(stack: AsyncExitStack) -> None:
    listener = RecordingListener()
    first, second = a_server(ScriptedService()), a_server(ScriptedService())
    addresses = [await first.start("127.0.0.1")]
    link = a_link(addresses[-1], listener, address=lambda: addresses[-1])
    stack.push_async_callback(link.close)
    link.start()
    await listener.journal.has("connected")
    addresses.append(await second.start("127.0.0.1"))
    stack.push_async_callback(second.stop)
    await first.stop()
    await listener.journal.has("connected", times=2)
    assert decode(await link.call("echo", 1, LONG_S), int) == 1


async def test_it_waits_for_an_address_and_hurries_when_told(stack: AsyncExitStack) -> None:
    listener = RecordingListener()
    server = a_server(ScriptedService())
    address = await server.start("127.0.0.1")
    stack.push_async_callback(server.stop)
    known: list[tuple[str, int] | None] = [None]
    asked = Journal()

    def provide() -> tuple[str, int] | None:
        asked.add("asked")
        return known[-1]

    link = a_link(address, listener, address=provide, random=Patient())
    stack.push_async_callback(link.close)
    link.start()
    await asked.has("asked")
    assert link.statistics().dials == 0
    known.append(address)
    link.redial("the address is known now")
    await listener.journal.has("connected")


async def test_redialing_drops_the_connection_at_once(stack: AsyncExitStack) -> None:
    listener, service = RecordingListener(), ScriptedService()
    server = a_server(service)
    address = await server.start("127.0.0.1")
    stack.push_async_callback(server.stop)
    link = a_link(address, listener)
    stack.push_async_callback(link.close)
    link.start()
    await listener.journal.has("connected")
    assert link.peer_incarnation == "host-0-a"
    link.redial("for the test")
    assert not link.is_connected
    assert link.peer_incarnation is None
    await listener.journal.has("connected", times=2)
    assert listener.journal.entries == ["connected", "disconnected", "connected"]


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"expected_peer": "host-7"}, "another member answers at this address"),
        ({"secret": b"another cluster's secret"}, "the peer closed the connection"),
    ],
    ids=["another name", "another secret"],
)
async def test_it_connects_to_the_right_peer_only(
    stack: AsyncExitStack, arguments: dict[str, object], reason: str
) -> None:
    listener, service = RecordingListener(), ScriptedService()
    server = a_server(service)
    address = await server.start("127.0.0.1")
    stack.push_async_callback(server.stop)
    dials = Dials(address)
    link = a_link(address, listener, **{"address": dials} | arguments)
    stack.push_async_callback(link.close)
    link.start()
    assert await dials.have_failed(link, 2) in {reason, "the connection was reset"}
    assert listener.journal.entries == []
    assert service.journal.entries == []


async def test_a_server_that_answers_nothing_is_given_up(stack: AsyncExitStack) -> None:
    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    silent = await asyncio.start_server(say_nothing, "127.0.0.1", 0)
    stack.callback(silent.close)
    dials = Dials(silent.sockets[0].getsockname())
    link = a_link(NOWHERE, RecordingListener(), address=dials, limits=LinkLimits(handshake_timeout_s=0.05))
    stack.push_async_callback(link.close)
    link.start()
    assert await dials.have_failed(link, 2) == "the handshake took too long"


async def test_a_server_that_answers_garbage_is_given_up(stack: AsyncExitStack) -> None:
    async def talk_nonsense(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await reader.read()
        writer.close()

    web = await asyncio.start_server(talk_nonsense, "127.0.0.1", 0)
    stack.callback(web.close)
    dials = Dials(web.sockets[0].getsockname())
    link = a_link(NOWHERE, RecordingListener(), address=dials)
    stack.push_async_callback(link.close)
    link.start()
    assert "a frame of more than 1024 bytes" in await dials.have_failed(link, 2)


async def test_closing_while_it_dials_ends_the_dialing() -> None:
    dials = Dials(NOWHERE)
    link = a_link(NOWHERE, RecordingListener(), address=dials)
    link.start()
    await dials.have_failed(link, 1)
    await link.close()
    assert len(link._tasks) == 0
    assert not link.is_connected


def test_the_back_off_doubles_with_jitter_up_to_a_second() -> None:
    jitter = random.Random(7)
    waits = [back_off_s(failures, jitter) for failures in range(40)]
    for failures, wait in enumerate(waits):
        longest = min(LONGEST_DELAY_S, FIRST_DELAY_S * 2**failures)
        assert longest / 2 <= wait <= longest
    assert len(set(waits[10:])) == 30


async def test_a_client_whose_peer_reads_nothing_is_overloaded_not_endless(stack: AsyncExitStack) -> None:
    limits = LinkLimits(max_unsent_bytes=2 << 20)
    listener = RecordingListener()
    server = a_server(ScriptedService())
    relay = Relay(await server.start("127.0.0.1"))
    stack.push_async_callback(server.stop)
    address = await relay.start()
    stack.push_async_callback(relay.stop)
    link = a_link(address, listener, limits=limits)
    stack.push_async_callback(link.close)
    link.start()
    await listener.journal.has("connected")
    relay.stall(to_target=True)
    sent = 0
    while link.note("n", b"\0" * (256 << 10)):
        sent += 1
        assert sent < 400, "the bound does not hold"
        await asyncio.sleep(0)
    with pytest.raises(FlowError) as caught:
        link.call("echo", None, LONG_S)
    assert caught.value.kind is OVERLOADED
    assert link.statistics().notes_dropped == 1
    assert link.is_connected


async def test_it_measures_the_round_trip(stack: AsyncExitStack) -> None:
    limits = LinkLimits(ping_interval_s=0.01)
    listener = RecordingListener()
    server = a_server(ScriptedService(), limits=limits)
    address = await server.start("127.0.0.1")
    stack.push_async_callback(server.stop)
    link = a_link(address, listener, limits=limits)
    stack.push_async_callback(link.close)
    link.start()
    await listener.journal.has("connected")
    async with asyncio.timeout(10):
        while link.statistics().round_trip_ms == 0:
            await link.call("echo", None, LONG_S)
    assert 0 < link.statistics().round_trip_ms < 5_000
