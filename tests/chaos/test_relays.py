"""A host that chaos took out of the view is put back as long as there is a process of that life, and no longer."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from cluster.kernel.clock import SystemClock
from cluster.placement.membership import announce
from cluster.placement.view import Member, View
from tests.chaos.relays import LinkRelays
from tests.support.view_store import MemoryViewStore


async def _nobody(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.close()


@asynccontextmanager
async def evicted() -> AsyncIterator[tuple[MemoryViewStore, LinkRelays, asyncio.Server]]:
    """host-0 is out of the view; the server is its process."""
    store, clock = MemoryViewStore(), SystemClock()
    async with await asyncio.start_server(_nobody, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        await announce(store, Member("host-0", "host", "a", f"127.0.0.1:{port}", "test"), clock)
        await announce(store, Member("host-1", "host", "b", "127.0.0.1:1", "test"), clock)
        relays = LinkRelays(store, print)
        assert await relays.evict("host-0")
        assert names(await store.load()) == ["host-1"]
        yield store, relays, server


def names(view: View | None) -> list[str]:
    assert view is not None
    return sorted(member.name for member in view.members)


async def test_one_whose_process_lives_is_put_back() -> None:
    async with evicted() as (store, relays, _):
        await relays.readmit("host-0")
        assert names(await store.load()) == ["host-0", "host-1"]


async def test_one_whose_process_has_ended_is_not() -> None:
    async with evicted() as (store, relays, server):
        server.close()
        await server.wait_closed()
        await relays.readmit("host-0")
        assert names(await store.load()) == ["host-1"]
