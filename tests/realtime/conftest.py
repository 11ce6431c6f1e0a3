"""A Flow in one process for the tests of the edge, on the event loop that Ray gives edges and hosts.

asyncio's own loop of Python 3.11 drops a connection that it accepts in the very turn in which the listener closes,
without closing it: a stopping edge would leave a warning to whatever test comes next.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import uvloop

from tests.realtime.harness import Flow


def pytest_asyncio_loop_factories(config: Any, item: Any) -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture
async def flow() -> AsyncIterator[Flow]:
    """One host and one edge; tests add more."""
    flow = Flow()
    await flow.add_host("host-0")
    await flow.add_edge()
    yield flow
    await flow.stop()
