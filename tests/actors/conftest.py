"""A world of hosts for each test that asks for one."""

from collections.abc import AsyncIterator

import pytest

from tests.actors.world import World


@pytest.fixture
async def world() -> AsyncIterator[World]:
    world = World()
    yield world
    await world.close()
