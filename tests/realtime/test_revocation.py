"""A session that was ended has no socket left, on any edge, and one who was taken out of a room hears no more of it."""

import asyncio
from collections.abc import Collection

import pytest
import socketio

from actors.messages import Done, MembersChanged
from actors.user_session import UserSession
from cluster.kernel.clock import ManualClock
from cluster.kernel.errors import FlowError
from cluster.kernel.ids import chat_key, user_key
from cluster.kernel.tasks import TaskOwner
from realtime.admission import Admission
from realtime.limits import EdgeLimits
from realtime.revocation import Revocations, tell_revoked
from realtime.sockets import Sockets
from tests.realtime.harness import CHAT, NOTIFICATIONS, Client, Flow


async def until_attached(flow: Flow, user_id: str) -> UserSession:
    """The person's session, once it knows of a socket."""
    while True:
        activation = flow.hosts[0].host._roster.get(str(user_key(user_id)))
        if activation is not None and activation.machine is not None and activation.machine.is_live():
            assert isinstance(activation.machine, UserSession)
            return activation.machine
        await asyncio.sleep(0)


async def is_refused(client: Client) -> str:
    with pytest.raises(socketio.exceptions.ConnectionError):
        await client.connect(CHAT)
    return client.refusals[CHAT]["data"]["code"]


async def test_ending_a_session_closes_its_sockets_on_every_edge_and_no_other(flow: Flow):
    await flow.add_edge("edge-1")
    ann = await flow.person()
    ended = [
        await flow.client(ann, edge, flow.token(ann, session="phone")).connect(CHAT, NOTIFICATIONS)
        for edge in flow.urls
    ]
    kept = await flow.client(ann, token=flow.token(ann, session="laptop")).connect(CHAT)
    flow.sessions.revoked.add("phone")
    await tell_revoked(flow.edges[1].router, "phone")
    for client in ended:
        await client.next("disconnect")
    assert (await kept.call(CHAT, "chat:join_room", await flow.room(ann)))["ok"]
    assert [edge.statistics().get("closes.session_revoked") for edge in flow.edges] == [1, 1]


async def test_an_ended_session_opens_no_socket(flow: Flow):
    ann = await flow.person()
    flow.sessions.revoked.add("phone")
    assert await is_refused(flow.client(ann, token=flow.token(ann, session="phone"))) == "session_revoked"
    await flow.client(ann, token=flow.token(ann, session="laptop")).connect(CHAT)


async def test_one_that_comes_is_asked_of_while_its_session_is_told_and_leaves_nothing_there_when_it_has_ended(
    flow: Flow,
):
    ann = await flow.person()
    flow.sessions.revoked.add("phone")
    flow.sessions.may_answer.clear()
    coming = asyncio.ensure_future(is_refused(flow.client(ann, token=flow.token(ann, session="phone"))))
    session = await until_attached(flow, ann)
    assert not coming.done()
    flow.sessions.may_answer.set()
    assert await coming == "session_revoked"
    while session.connections:  # noqa: ASYNC110 - until its socket was taken back
        await asyncio.sleep(0)
    assert flow.edges[0].statistics()["admitted_sockets"] == 0


async def test_nobody_is_let_in_before_storage_has_answered(flow: Flow):
    ann = await flow.person()
    flow.sessions.may_answer.clear()
    client = flow.client(ann)
    coming = asyncio.ensure_future(client.connect(CHAT))
    await until_attached(flow, ann)
    assert not client.sio.namespaces
    flow.sessions.may_answer.set()
    await coming


async def test_what_was_told_is_remembered_while_storage_is_away(flow: Flow):
    ann = await flow.person()
    flow.sessions.is_away = True
    await flow.client(ann, token=flow.token(ann, session="laptop")).connect(CHAT)
    await tell_revoked(flow.edges[0].router, "phone")
    assert await is_refused(flow.client(ann, token=flow.token(ann, session="phone"))) == "session_revoked"


async def test_what_was_not_told_is_found_by_asking(flow: Flow):
    ann = await flow.person()
    client = await flow.client(ann, token=flow.token(ann, session="phone")).connect(CHAT)
    flow.sessions.revoked.add("phone")
    await flow.edges[0]._revocations.sweep()
    await client.next("disconnect")


async def test_the_edges_are_told_after_a_host_has_died(flow: Flow):
    ann = await flow.person()
    client = await flow.client(ann, token=flow.token(ann, session="phone")).connect(CHAT)
    await flow.hosts[0].kill()
    host = await flow.add_host("host-0")
    while host.host.statistics()["watches"] < 1:  # noqa: ASYNC110 - until it watches again
        await asyncio.sleep(0)
    await tell_revoked(flow.edges[0].router, "phone")
    await client.next("disconnect")


async def test_what_was_told_while_a_link_was_down_is_found_soon(flow: Flow):
    ann = await flow.person()
    client = await flow.client(ann, token=flow.token(ann, session="phone")).connect(CHAT)
    flow.sessions.revoked.add("phone")
    flow.edges[0]._links.link_to("host-0").redial("a test")
    await client.next("disconnect")


async def test_one_who_was_taken_out_of_a_room_hears_no_more_of_it(flow: Flow):
    ann, bob = await flow.person(), await flow.person()
    room = await flow.room(ann, bob)
    a, b = [await flow.client(who).connect(CHAT) for who in (ann, bob)]
    for client in (a, b):
        assert (await client.call(CHAT, "chat:join_room", room))["ok"]
    await flow.storage.memberships.remove(room, bob)
    changed = MembersChanged(users=(bob,), removed=True)
    await flow.edges[0].router.command(ann, chat_key(room), "chat.members_changed", changed, Done)
    assert await b.next("chat:removed") == {"roomId": room}
    message = {"roomId": room, "text": "he is gone", "clientMsgId": "1"}
    assert (await a.call(CHAT, "chat:send_message", message))["ok"]
    assert (await a.next("chat:new_message"))["text"] == "he is gone"
    assert a.all("chat:removed") == []
    assert (await b.call(CHAT, "chat:send_message", message))["error"]["code"] == "not_a_member"
    assert b.all("chat:new_message") == []


class Counted:
    """Answers when it is let."""

    def __init__(self) -> None:
        self.questions: list[set[str]] = []
        self.may_answer = asyncio.Event()

    async def revoked_among(self, family_ids: Collection[str]) -> set[str]:
        self.questions.append(set(family_ids))
        await self.may_answer.wait()
        return {session for session in family_ids if session.startswith("ended")}


async def _check(revocations: Revocations, session_id: str) -> None:
    revocations.judge(session_id, await revocations.ask(session_id))


async def test_a_crowd_is_answered_a_few_a_turn():
    storage, tasks = Counted(), TaskOwner("revocations")
    revocations = Revocations(storage, Sockets(Admission(EdgeLimits(), ManualClock())), tasks)
    storage.may_answer.set()
    in_this_turn, most = 0, 0

    async def come(number: int) -> None:
        nonlocal in_this_turn, most
        await _check(revocations, f"live-{number}")
        in_this_turn += 1
        most = max(most, in_this_turn)

    checks = [asyncio.ensure_future(come(number)) for number in range(300)]
    while not all(check.done() for check in checks):
        in_this_turn = 0
        await asyncio.sleep(0)
    assert 0 < most <= 16
    await tasks.stop()


async def test_whoever_storage_does_not_tell_of_in_time_comes_in():
    storage, tasks = Counted(), TaskOwner("revocations")
    revocations = Revocations(storage, Sockets(Admission(EdgeLimits(), ManualClock())), tasks)
    async with asyncio.timeout(5):
        await asyncio.gather(*(_check(revocations, f"ended-{number}") for number in range(3)))
    assert revocations.statistics()["sessions_unchecked"] == 3
    storage.may_answer.set()
    await tasks.stop()


async def test_those_who_come_while_one_is_asked_of_are_asked_of_together():
    storage, tasks = Counted(), TaskOwner("revocations")
    revocations = Revocations(storage, Sockets(Admission(EdgeLimits(), ManualClock())), tasks)
    names = ["first", *(f"{kind}-{number}" for number in range(300) for kind in ("live", "ended"))]
    checks = [asyncio.ensure_future(_check(revocations, name)) for name in (*names, *names)]
    while not storage.questions:  # noqa: ASYNC110 - until the first is asked
        await asyncio.sleep(0)
    checks[7].cancel()
    storage.may_answer.set()
    outcomes = await asyncio.gather(*checks, return_exceptions=True)
    refused = {name for name, outcome in zip((*names, *names), outcomes, strict=True) if isinstance(outcome, FlowError)}
    assert refused == {name for name in names if name.startswith("ended")}
    assert set().union(*storage.questions) == set(names)
    assert len(storage.questions) <= 13
    assert max(map(len, storage.questions)) <= 200
    assert revocations.statistics()["session_checks_waiting"] == 0
    await tasks.stop()
