"""The official JavaScript client comes back whole: after its edge was killed, and after everything was restarted."""

from collections.abc import AsyncIterator, Iterator

import pytest

from tests.support.flow_process import FlowProcess, Person, new_event
from tests.support.node_client import NodeClient, needs_node

pytestmark = [needs_node, pytest.mark.cluster, pytest.mark.timeout(300)]


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


async def in_a_room(pair: FlowProcess, speaker: Person, listener: Person) -> tuple[str, NodeClient, str]:
    """The room, the listener's client and the id it was given."""
    event = await speaker.call_http("POST", "/v1/events", new_event())
    room_id = f"event:{event['id']}"
    if not speaker.socket.connected:
        await speaker.connect("/chat")
    assert (await speaker.ask("/chat", "chat:join_room", room_id))["ok"]
    client = await NodeClient.start(pair.url, auth={"token": listener.token, "recover": True})
    first = await client.next("connect")
    assert (await client.ask("chat:join_room", room_id))["ok"]
    return room_id, client, first["id"]


async def say(speaker: Person, room_id: str, *texts: str) -> None:
    """Until it is said: the speaker's own edge may be the one that died."""
    for text in texts:
        while True:
            if not speaker.socket.connected:
                await speaker.socket.connect(
                    str(speaker.http._base_url), auth={"token": speaker.token}, namespaces=["/chat"], retry=True
                )
            answer = await speaker.say(room_id, text, text)
            if answer["ok"]:
                break
            assert answer["error"]["retryable"], answer


async def hears(client: NodeClient, *texts: str) -> None:
    await client.until(lambda: len(client.events("chat:new_message")) >= len(texts), texts[-1])
    assert [message["text"] for message in client.events("chat:new_message")] == list(texts)
    assert [message["seq"] for message in client.events("chat:new_message")] == list(range(1, len(texts) + 1))


@pytest.mark.parametrize("before", [(), ("before 1", "before 2")], ids=["no event before", "events before"])
async def test_an_edge_that_is_killed_costs_its_clients_nothing(
    pair: FlowProcess, people: tuple[Person, Person], before: tuple[str, ...]
) -> None:
    ada, bob = people
    room_id, client, first_id = await in_a_room(pair, ada, bob)
    if before:
        await say(ada, room_id, *before)
        await hears(client, *before)
    pair.kill(first_id.partition("~")[0])
    await client.next("disconnect")
    if not ada.socket.connected or ada.socket.get_sid("/chat").startswith(first_id.partition("~")[0]):
        await ada.socket.disconnect()
    await say(ada, room_id, "missed 1", "missed 2")
    back = await client.next("connect")
    assert (back["recovered"], back["id"]) == (True, first_id)
    await say(ada, room_id, "after")
    await hears(client, *before, "missed 1", "missed 2", "after")
    await client.stop()


async def test_a_session_that_was_logged_out_loses_its_sockets(
    pair: FlowProcess, people: tuple[Person, Person]
) -> None:
    ada, bob = people
    _, client, _ = await in_a_room(pair, ada, bob)
    await bob.call_http("POST", "/v1/auth/logout", {})
    assert (await client.next("disconnect"))["reason"] == "io server disconnect"
    await client.tell("connect")
    assert (await client.next("refused"))["data"]["code"] == "session_revoked"
    await client.stop()


async def test_a_deploy_costs_nobody_anything(pair: FlowProcess, people: tuple[Person, Person]) -> None:
    ada, bob = people
    room_id, client, first_id = await in_a_room(pair, ada, bob)
    await say(ada, room_id, "before")
    await hears(client, "before")
    await ada.socket.disconnect()
    pair.down()
    pair.up("--edges", "2", "--no-recommender")
    back = await client.next("connect")
    assert (back["recovered"], back["id"]) == (True, first_id)
    await say(ada, room_id, "after")
    await hears(client, "before", "after")
    await client.stop()
