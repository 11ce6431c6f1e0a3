"""A Flow in one process for the tests of the edge."""

from collections.abc import AsyncIterator

import pytest

from tests.realtime.harness import Flow


@pytest.fixture
async def flow() -> AsyncIterator[Flow]:
    """One host and one edge; tests add more."""
    flow = Flow()
    await flow.add_host("host-0")
    await flow.add_edge()
    yield flow
    await flow.stop()
