"""Events, topics, notifications and the life of a token, over real sockets."""

import pytest
import socketio

from actors.messages import Notified, Notify
from cluster.kernel.ids import new_id, user_key
from realtime.announcements import announce_event
from tests.realtime.harness import CHAT, EVENTS, NOTIFICATIONS, Flow

BERLIN = (13.405, 52.52)


async def test_interest_and_answers_are_told_to_those_who_watch(flow: Flow):
    ann, bob = await flow.person(), await flow.person()
    event = await flow.event(ann, capacity=1)
    a = await flow.client(ann).connect(EVENTS)
    b = await flow.client(bob).connect(EVENTS)
    joined = await a.call(EVENTS, "event:join_updates", event)
    assert joined["ok"]
    assert (joined["eventId"], joined["attending"], joined["capacity"]) == (event, 0, 1)
    assert (await b.call(EVENTS, "event:interested", {"eventId": event}))["ok"]
    assert await a.next("event:interest_update") == {"eventId": event, "userId": bob, "action": "interested"}
    going = await b.call(EVENTS, "event:rsvp", {"eventId": event, "status": "going"})
    assert (going["status"], going["attending"]) == ("going", 1)
    update = [await a.next("event:rsvp_update") for _ in range(2)][-1]
    assert update == {"eventId": event, "attending": 1, "interested": 0, "capacity": 1}
    waiting = await a.call(EVENTS, "event:rsvp", {"eventId": event, "status": "going"})
    assert (waiting["status"], waiting["place"]) == ("waiting", 1)
    assert (await a.call(EVENTS, "event:leave_updates", event)) == {"ok": True}


async def test_a_new_event_is_told_once_to_whoever_is_near_or_likes_it(flow: Flow):
    near_and_likes = await flow.client(await flow.person(coordinates=BERLIN, interests=("Jazz", "food"))).connect(
        EVENTS
    )
    likes = await flow.client(await flow.person()).connect(EVENTS, interests=["jazz"])
    near = await flow.client(await flow.person()).connect(EVENTS, location=[13.4, 52.5])
    neither = await flow.client(await flow.person(coordinates=(0.0, 0.0), interests=("chess",))).connect(EVENTS)
    wire = {"id": new_id(), "title": "Jazz night", "tags": ["jazz", "food"], "location": {"coordinates": [*BERLIN]}}
    assert await announce_event(flow.edges[0].router, wire) == 3
    marker = {"id": new_id(), "title": "Marker", "tags": ["jazz", "chess"], "location": {"coordinates": [*BERLIN]}}
    await announce_event(flow.edges[0].router, marker)
    for client in (near_and_likes, likes, near):
        assert (await client.next("event:new"))["title"] == "Jazz night"
        assert (await client.next("event:new"))["title"] == "Marker"
    assert (await neither.next("event:new"))["title"] == "Marker"


async def test_too_many_interests_or_a_place_off_the_earth_are_refused(flow: Flow):
    client = flow.client(await flow.person())
    for auth in ({"interests": ["x"] * 33}, {"location": [200, 0]}):
        with pytest.raises(socketio.exceptions.ConnectionError):
            await client.connect(EVENTS, **auth)
        assert client.refusals[EVENTS]["data"]["code"] == "invalid_request"


async def test_notifications_reach_the_socket_and_are_counted(flow: Flow):
    ann = await flow.person()
    client = await flow.client(ann).connect(CHAT, NOTIFICATIONS)
    assert await client.next("notification:badge") == {"unread": 0}
    notify = Notify(id="cause-1", type="chat", title="New", body="A message", data={"roomId": "x"})
    told = await flow.edges[0].router.command("", user_key(ann), "session.notify", notify, Notified)
    assert told.live
    assert (await client.next("notification:new"))["id"] == "cause-1"
    assert await client.next("notification:badge") == {"unread": 1}
    listed = await client.call(NOTIFICATIONS, "notification:list")
    assert [item["id"] for item in listed["items"]] == ["cause-1"]
    assert (await client.call(NOTIFICATIONS, "notification:read", {"id": "cause-1"})) == {"ok": True, "unread": 0}
    assert await client.next("notification:badge") == {"unread": 0}


async def test_a_session_knows_that_the_last_socket_has_gone(flow: Flow):
    ann = await flow.person()
    client = await flow.client(ann).connect(CHAT)
    await client.close()
    router = flow.edges[0].router

    async def is_live(cause: str) -> bool:
        notify = Notify(id=cause, type="chat", title="New", body="A message", data={})
        return (await router.command("", user_key(ann), "session.notify", notify, Notified)).live

    causes = iter(range(200))
    while await is_live(str(next(causes))):
        pass


async def test_a_token_is_announced_to_expire_renewed_and_in_the_end_closes_the_socket(flow: Flow):
    await flow.add_edge("edge-1", token_lifetime_s=2, token_warning_s=1.5, token_grace_s=0.5)
    ann = await flow.person()
    client = await flow.client(ann, "edge-1", flow.token(ann, 1)).connect(CHAT, NOTIFICATIONS)
    assert (await client.next("auth:expiring"))["expiresAt"] > flow.clock.now_ms()
    renewed = await client.call(CHAT, "auth:refresh", {"token": flow.token(ann, 1)})
    assert renewed["ok"]
    other = await client.call(CHAT, "auth:refresh", {"token": flow.token(await flow.person(), 1)})
    assert other["error"]["code"] == "unauthenticated"
    await client.next("disconnect", timeout=10)
    assert flow.clock.now_ms() >= renewed["expiresAt"]
    assert flow.edges[1].statistics()["tokens_expired"] == 1
