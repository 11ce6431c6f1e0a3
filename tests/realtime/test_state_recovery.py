"""The official JavaScript client's own connection state recovery: `socket.recovered`, its id, and exactly what it
missed, with and without events before the drop, whatever died meanwhile."""

import asyncio
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import pytest

from realtime.auth import TokenService, TokenSettings
from tests.realtime.harness import CHAT, CLOCK, Client, Flow
from tests.support.node_client import NodeClient, needs_node
from tests.support.relay import Relay

pytestmark = [needs_node, pytest.mark.timeout(120)]

TRANSPORTS = pytest.mark.parametrize("transport", ["default", "websocket", "polling"])


class Stage:
    """A room with somebody who speaks, and one JavaScript client that comes through a relay."""

    def __init__(self, flow: Flow) -> None:
        self.flow = flow
        self.relay: Relay
        self.speaker: Client
        self.listener: NodeClient
        self.listener_id = ""
        self.room = ""
        self.url = ""

    async def open(self, transport: str, **options: Any) -> "Stage":
        flow = self.flow
        ann, self.listener_id = await flow.person(), await flow.person()
        self.room = await flow.room(ann, self.listener_id)
        self.speaker = await flow.client(ann, list(flow.urls)[-1]).connect(CHAT)
        self.relay = Relay(address(flow.urls["edge-0"]))
        host, port = await self.relay.start()
        self.url = f"http://{host}:{port}"
        auth = {"token": flow.token(self.listener_id), **options.pop("auth", {})}
        self.listener = await flow.node_clients.start(self.url, auth=auth, **by(transport), **options)
        self.first = await self.listener.next("connect")
        assert self.first["recovered"] is False
        return self

    async def join(self, room: str | None = None) -> None:
        answer = await self.listener.ask("chat:join_room", room or self.room)
        assert answer["ok"], answer

    async def say(self, *texts: str, room: str | None = None) -> None:
        for text in texts:
            message = {"roomId": room or self.room, "text": text, "clientMsgId": text}
            answer = await self.speaker.call(CHAT, "chat:send_message", message)
            assert answer["ok"], answer

    async def hears(self, *texts: str) -> None:
        """Everything it has heard, exactly this, in order."""
        await self.listener.until(lambda: len(self.listener.events("chat:new_message")) >= len(texts), texts[-1])
        assert [message["text"] for message in self.listener.events("chat:new_message")] == list(texts)

    async def comes_back(self) -> dict[str, Any]:
        return await self.listener.next("connect")

    async def close(self) -> None:
        await self.listener.stop()
        await self.relay.stop()


def by(transport: str) -> dict[str, Any]:
    """The client's options; without any it polls first and then upgrades."""
    return {} if transport == "default" else {"transports": [transport]}


def address(url: str) -> tuple[str, int]:
    host, _, port = url.removeprefix("http://").partition(":")
    return host, int(port)


@pytest.fixture
async def stage(flow: Flow) -> AsyncIterator[Stage]:
    made = Stage(flow)
    yield made
    await made.close()


@TRANSPORTS
@pytest.mark.parametrize("parser", ["json", "msgpack"])
async def test_a_client_that_drops_its_transport_is_recovered(stage: Stage, transport: str, parser: str):
    await stage.open(transport, parser=parser)
    await stage.join()
    await stage.say("1", "2")
    await stage.hears("1", "2")
    await stage.listener.tell("drop")
    await stage.say("3", "4")
    back = await stage.comes_back()
    assert (back["recovered"], back["id"]) == (True, stage.first["id"])
    await stage.say("5")
    await stage.hears("1", "2", "3", "4", "5")


@TRANSPORTS
async def test_recovery_needs_no_event_before_the_drop(stage: Stage, transport: str):
    await stage.open(transport)
    await stage.join()
    await stage.listener.tell("drop")
    await stage.say("1", "2")
    back = await stage.comes_back()
    assert (back["recovered"], back["id"]) == (True, stage.first["id"])
    await stage.hears("1", "2")


async def test_a_client_that_has_joined_nothing_is_recovered_with_its_id(stage: Stage):
    await stage.open("websocket")
    for _ in range(3):
        stage.relay.cut()
        back = await stage.comes_back()
        assert (back["recovered"], back["id"]) == (True, stage.first["id"])


@TRANSPORTS
async def test_another_edge_takes_a_client_back_when_its_own_has_died(stage: Stage, flow: Flow, transport: str):
    await flow.add_edge("edge-1")
    await stage.open(transport)
    quiet, other = await flow.room(stage.speaker.user_id, stage.listener_id), await flow.event(stage.listener_id)
    for room in (stage.room, quiet, f"event:{other}", f"dm:{stage.speaker.user_id}:{stage.listener_id}"):
        await stage.join(room)
    await stage.say("1")
    await stage.hears("1")
    stage.relay.point_at(address(flow.urls["edge-1"]))
    stage.relay.cut()
    await flow.edges[0].stop()
    await stage.say("2")
    back = await stage.comes_back()
    assert (back["recovered"], back["id"]) == (True, stage.first["id"])
    await stage.say("quiet", room=quiet)
    await stage.say("direct", room=f"dm:{stage.listener_id}:{stage.speaker.user_id}")
    await stage.hears("1", "2", "quiet", "direct")


async def test_the_order_of_two_rooms_is_known_from_one_offset(stage: Stage, flow: Flow):
    """The client keeps one string only, of whichever room spoke last."""
    await stage.open("websocket")
    second = await flow.room(stage.speaker.user_id, stage.listener_id)
    await stage.join()
    await stage.join(second)
    await stage.say("a1")
    await stage.say("b1", room=second)
    await stage.say("a2")
    await stage.hears("a1", "b1", "a2")
    stage.relay.cut()
    await stage.say("b2", room=second)
    await stage.say("a3")
    assert (await stage.comes_back())["recovered"] is True
    await stage.listener.until(lambda: len(stage.listener.events("chat:new_message")) >= 5)
    texts = [message["text"] for message in stage.listener.events("chat:new_message")]
    assert texts[:3] == ["a1", "b1", "a2"]
    assert sorted(texts[3:]) == ["a3", "b2"]


async def test_a_room_that_was_left_is_not_given_back(stage: Stage):
    await stage.open("websocket")
    await stage.join()
    assert (await stage.listener.ask("chat:leave_room", stage.room))["ok"]
    stage.relay.cut()
    assert (await stage.comes_back())["recovered"] is True
    await stage.say("1")
    await stage.join()
    await stage.say("2")
    await stage.hears("2")


async def test_hosts_that_die_meanwhile_cost_nothing(stage: Stage, flow: Flow):
    await stage.open("websocket")
    await stage.join()
    await stage.say("1")
    await stage.hears("1")
    stage.relay.cut()
    await flow.hosts[0].kill()
    await flow.add_host("host-0")
    await stage.say("2")
    assert (await stage.comes_back())["recovered"] is True
    await stage.hears("1", "2")


async def test_who_was_taken_out_of_a_room_starts_anew(stage: Stage, flow: Flow):
    await stage.open("websocket")
    await stage.join()
    stage.relay.stall(to_target=True, to_client=True)
    await flow.storage.memberships.remove(stage.room, stage.listener_id)
    await stage.speaker.call(CHAT, "chat:join_room", stage.room)
    flow.hosts[0].host._roster.get(f"chat/{stage.room}").machine.members.clear()
    stage.relay.cut()
    stage.relay.resume()
    back = await stage.comes_back()
    assert back["recovered"] is False
    assert back["id"] != stage.first["id"]
    await stage.say("1")
    assert (await stage.listener.ask("chat:join_room", stage.room))["error"]["code"] == "not_a_member"
    assert stage.listener.events("chat:new_message") == []


async def test_who_missed_too_much_starts_anew(stage: Stage, flow: Flow):
    await flow.add_edge("edge-1", max_recovered_messages=3)
    await stage.open("websocket")
    await stage.join()
    stage.relay.point_at(address(flow.urls["edge-1"]))
    stage.relay.cut()
    stage.relay.stall(to_target=True)
    await stage.say("1", "2", "3", "4")
    stage.relay.resume()
    back = await stage.comes_back()
    assert back["recovered"] is False
    assert stage.listener.events("chat:new_message") == []
    await stage.say("5")
    answer = await stage.listener.ask("chat:join_room", {"roomId": stage.room, "since": 0})
    assert [message["text"] for message in answer["messages"]] == ["1", "2", "3", "4", "5"]


async def test_another_person_cannot_show_the_same_pid(stage: Stage, flow: Flow):
    await stage.open("websocket")
    await stage.listener.tell("auth", token=flow.token(stage.speaker.user_id))
    stage.relay.cut()
    back = await stage.comes_back()
    assert back["recovered"] is False
    assert back["id"] != stage.first["id"]


async def test_an_expired_token_recovers_nothing(stage: Stage):
    await stage.open("websocket")
    an_hour_ago = SimpleNamespace(now_ms=lambda: CLOCK.now_ms() - 3_600_000)
    expired, _ = TokenService(TokenSettings("x" * 32), an_hour_ago).issue(stage.listener_id, "someone", "session-1")
    await stage.listener.tell("auth", token=expired)
    stage.relay.cut()
    assert (await stage.listener.next("refused"))["data"]["code"] == "token_expired"


async def test_a_client_that_looks_like_another_may_ask_for_it(stage: Stage):
    headers = {"User-Agent": "A kiosk/1.0"}
    await stage.open("polling", extraHeaders=headers)
    await stage.listener.tell("drop")
    assert (await stage.comes_back())["recovered"] is False
    await stage.listener.tell("auth", recover=True)
    await stage.listener.tell("drop")
    assert (await stage.comes_back())["recovered"] is False
    await stage.listener.tell("drop")
    assert (await stage.comes_back())["recovered"] is True


@TRANSPORTS
async def test_who_wants_none_of_it_gets_plain_events(stage: Stage, transport: str):
    await stage.open(transport, auth={"recover": False})
    await stage.join()
    await stage.say("1")
    await stage.hears("1")
    assert [len(said["args"]) for said in stage.listener.said if said["what"] == "event"] == [1]
    await stage.listener.tell("drop")
    assert (await stage.comes_back())["recovered"] is False


@pytest.mark.parametrize(
    ("setting", "recover", "recovered"),
    [("asked", None, False), ("asked", True, True), ("never", None, False), ("never", True, False)],
)
async def test_the_operator_has_the_last_word(
    stage: Stage, flow: Flow, setting: str, recover: bool | None, recovered: bool
):
    await flow.add_edge("edge-1", state_recovery=setting)
    flow.urls["edge-0"] = flow.urls["edge-1"]
    await stage.open("websocket", auth={} if recover is None else {"recover": recover})
    await stage.join()
    stage.relay.cut()
    assert (await stage.comes_back())["recovered"] is recovered


@pytest.mark.parametrize("transport", ["websocket", "polling"])
async def test_a_strict_handler_of_another_client_gets_what_it_expects(flow: Flow, stage: Stage, transport: str):
    await stage.open("websocket")
    plain = flow.client(stage.listener_id)
    heard: asyncio.Queue[Any] = asyncio.Queue()

    @plain.sio.on("chat:new_message", namespace=CHAT)
    async def on_message(data: dict[str, Any]) -> None:
        heard.put_nowait(data)

    await plain.connect(CHAT, transport=transport)
    await plain.call(CHAT, "chat:join_room", stage.room)
    await stage.join()
    await stage.say("1")
    async with asyncio.timeout(5):
        assert (await heard.get())["text"] == "1"
    assert plain.all("chat:offset") == []
    await stage.hears("1")
    [arguments] = [said["args"] for said in stage.listener.said if said.get("name") == "chat:new_message"]
    assert len(arguments) == 2
