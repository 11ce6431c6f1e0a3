"""One Flow for all tests of this folder, started as a person starts it. Tests that stop it start their own."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.flow_process import FcmThread, FlowProcess, Person, fcm_in_a_thread


@pytest.fixture(scope="session")
def fcm() -> Iterator[FcmThread]:
    with fcm_in_a_thread() as server:
        yield server


@pytest.fixture(scope="session")
def flow(tmp_path_factory: pytest.TempPathFactory, fcm: FcmThread) -> Iterator[FlowProcess]:
    directory: Path = tmp_path_factory.mktemp("flow")
    running = FlowProcess(directory, FLOW_FCM_URL=fcm.fake.endpoint)
    running.up()
    yield running
    running.down()


@pytest.fixture
async def person(flow: FlowProcess) -> AsyncIterator[Callable[..., Awaitable[Person]]]:
    """Registers people and closes what they opened."""
    known: list[Person] = []

    async def register(**profile: Any) -> Person:
        known.append(await Person.register(flow, **profile))
        return known[-1]

    yield register
    for someone in known:
        await someone.close()
