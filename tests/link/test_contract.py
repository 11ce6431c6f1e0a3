"""The link's contract, on real sockets and on the double that other tests use."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import pytest

from cluster.kernel.clock import Clock
from cluster.link.port import LinkLimits
from tests.link.contract_link import Ends, LinkContract, OpenLink
from tests.link.doubles import RecordingListener, ScriptedService, a_link, a_server
from tests.support.local_link import LocalLink


class TestOnSockets(LinkContract):
    @pytest.fixture
    async def open_link(self) -> AsyncIterator[OpenLink]:
        async with AsyncExitStack() as stack:

            async def open_with(*, limits: LinkLimits | None = None, server_clock: Clock | None = None) -> Ends:
                service, listener = ScriptedService(), RecordingListener()
                server = a_server(service, limits=limits, clock=server_clock)
                link = a_link(await server.start("127.0.0.1"), listener, limits=limits)
                stack.push_async_callback(server.stop)
                stack.push_async_callback(link.close)
                link.start()
                await listener.journal.has("connected")

                def stop_reading() -> None:
                    connection: Any = link._connection
                    connection._transport.pause_reading()

                async def reconnect() -> None:
                    await listener.journal.has("connected", times=2)

                return Ends(link, service, listener, stop_reading, reconnect)

            yield open_with


class TestInMemory(LinkContract):
    @pytest.fixture
    async def open_link(self) -> OpenLink:
        async def open_with(*, limits: LinkLimits | None = None, server_clock: Clock | None = None) -> Ends:
            service, listener = ScriptedService(), RecordingListener()
            link = LocalLink(service, listener, limits=limits, clock=server_clock)
            link.connect()

            async def reconnect() -> None:
                link.connect()

            return Ends(link, service, listener, link.pause, reconnect)

        return open_with
