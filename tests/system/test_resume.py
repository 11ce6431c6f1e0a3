"""The official JavaScript client comes back whole: after its edge was killed, and after everything was restarted."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest
from socketio.exceptions import ConnectionError as SocketIOConnectionError
from socketio.exceptions import SocketIOError

from tests.support.flow_process import FlowProcess, Person, new_event
from tests.support.node_client import NodeClient, NodeClients, needs_node

pytestmark = [needs_node, pytest.mark.cluster, pytest.mark.timeout(300)]

PATIENCE_S = 60.0


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FlowProcess]:
    """A Flow of its own with two edges on one port."""
    running = FlowProcess(tmp_path_factory.mktemp("pair"))
    running.up("--edges", "2", "--no-recommender")
    yield running
    running.down()


@pytest.fixture
async def people(pair: FlowProcess) -> AsyncIterator[tuple[Person, Person]]:
    ada, bob = await Person.register(pair), await Person.register(pair)
    yield ada, bob
    for someone in (ada, bob):
        await someone.close()


@pytest.fixture
async def clients() -> AsyncIterator[NodeClients]:
    started = NodeClients()
    yield started
    await started.stop()


async def in_a_room(
    pair: FlowProcess, clients: NodeClients, speaker: Person, listener: Person, **options: Any
) -> tuple[str, NodeClient, str]:
    """The room, the listener's client and the id it was given."""
    event = await speaker.call_http("POST", "/v1/events", new_event())
    room_id = f"event:{event['id']}"
    await connect(speaker)
    await joins(lambda: speaker.ask("/chat", "chat:join_room", room_id))
    client = await clients.start(pair.url, auth={"token": listener.token}, **options)
    first = await client.next("connect")
    await joins(lambda: client.ask("chat:join_room", room_id))
    return room_id, client, first["id"]


async def joins(ask: Callable[[], Awaitable[dict[str, Any]]]) -> None:
    """Until it is let in: an edge may have come up a moment ago, after the test before."""
    async with asyncio.timeout(PATIENCE_S):
        while not (answer := await ask())["ok"]:
            assert answer["error"]["retryable"], answer


async def connect(person: Person) -> None:
    """Until an edge takes it: there may be none for as long as a process needs to start."""
    async with asyncio.timeout(PATIENCE_S):
        while not person.socket.connected:
            with suppress(SocketIOConnectionError):
                await person.connect("/chat")


async def say(speaker: Person, room_id: str, *texts: str) -> None:
    """Until it is said: the speaker's own edge may be the one that died."""
    async with asyncio.timeout(PATIENCE_S):
        for text in texts:
            while not await is_said(speaker, room_id, text):
                pass


async def is_said(speaker: Person, room_id: str, text: str) -> bool:
    await connect(speaker)
    try:
        answer = await speaker.say(room_id, text, text)
    except SocketIOError:
        return False  # the socket died under it
    assert answer["ok"] or answer["error"]["retryable"], answer
    return bool(answer["ok"])


async def hears(client: NodeClient, *texts: str) -> None:
    await client.until(lambda: len(client.events("chat:new_message")) >= len(texts), texts[-1])
    assert [message["text"] for message in client.events("chat:new_message")] == list(texts)
    assert [message["seq"] for message in client.events("chat:new_message")] == list(range(1, len(texts) + 1))


@pytest.mark.parametrize("transport", ["default", "websocket", "polling"])
@pytest.mark.parametrize("before", [(), ("before 1", "before 2")], ids=["no event before", "events before"])
async def test_an_edge_that_is_killed_costs_its_clients_nothing(
    pair: FlowProcess, people: tuple[Person, Person], clients: NodeClients, before: tuple[str, ...], transport: str
) -> None:
    ada, bob = people
    await pair.until_running("edge-0", "edge-1")
    options = {} if transport == "default" else {"transports": [transport]}
    room_id, client, first_id = await in_a_room(pair, clients, ada, bob, **options)
    if before:
        await say(ada, room_id, *before)
        await hears(client, *before)
    pair.kill(first_id.partition("~")[0])
    await client.next("disconnect")
    await ada.leave()  # its edge may be the one that died, which its client may not know yet
    await say(ada, room_id, "missed 1", "missed 2")
    back = await client.next("connect")
    assert (back["recovered"], back["id"]) == (True, first_id)
    await say(ada, room_id, "after")
    await hears(client, *before, "missed 1", "missed 2", "after")


async def test_a_session_that_was_logged_out_loses_its_sockets(
    pair: FlowProcess, people: tuple[Person, Person], clients: NodeClients
) -> None:
    ada, bob = people
    _, client, _ = await in_a_room(pair, clients, ada, bob)
    await bob.call_http("POST", "/v1/auth/logout", {})
    assert (await client.next("disconnect"))["reason"] == "io server disconnect"
    await client.tell("connect")
    assert (await client.next("refused"))["data"]["code"] == "session_revoked"


async def test_a_deploy_costs_nobody_anything(
    pair: FlowProcess, people: tuple[Person, Person], clients: NodeClients
) -> None:
    ada, bob = people
    room_id, client, first_id = await in_a_room(pair, clients, ada, bob)
    await say(ada, room_id, "before")
    await hears(client, "before")
    await ada.leave()
    pair.down()
    pair.up("--edges", "2", "--no-recommender")
    back = await client.next("connect")
    assert (back["recovered"], back["id"]) == (True, first_id)
    await say(ada, room_id, "after")
    await hears(client, "before", "after")
