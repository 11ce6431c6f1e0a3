"""/events: interest, answers, live numbers, and news of events near a person or to their taste.

Counts, places and who may see an event are the event room's own. On connecting, the socket is given the topics of its
place and interests: those in the `auth` payload, else those the person has stored.
"""

from functools import partial
from typing import Any, Final

from actors.messages import AnswerRsvp, Done, EventSnapshot, RsvpAnswer, ShowInterest, WatchEvent, WatchTopic
from cluster.kernel.errors import UNAUTHENTICATED, FlowError
from cluster.kernel.ids import event_key
from realtime.engine.port import Connection
from realtime.namespaces.common import Answer, Handler, Services, join, topic_key
from realtime.namespaces.persistence import Step, attach_step, persist
from realtime.protocol import ConnectRequest, EventRequest, RsvpRequest
from realtime.sockets import Person
from realtime.topics import interest_topics, location_topic


async def interested(services: Services, connection: Connection, person: Person, request: EventRequest) -> Answer:
    _ = await services.router.command(
        person.user_id,
        event_key(request.event_id),
        "event.interested",
        ShowInterest(),
        Done,
        connection=connection.id,
    )
    await services.acted(person.user_id)
    return Answer({})


async def rsvp(services: Services, connection: Connection, person: Person, request: RsvpRequest) -> Answer:
    reply = await services.router.command(
        person.user_id,
        event_key(request.event_id),
        "event.rsvp",
        AnswerRsvp(status=request.status),
        RsvpAnswer,
        connection=connection.id,
    )
    await services.acted(person.user_id)
    answer: dict[str, Any] = {
        "eventId": reply.event_id,
        "status": reply.status,
        "attending": reply.attending,
        "interested": reply.interested,
        "capacity": reply.capacity,
    }
    if reply.place is not None:
        answer["place"] = reply.place
    return Answer(answer)


async def join_updates(services: Services, connection: Connection, person: Person, request: EventRequest) -> Answer:
    snapshot, backlog = await join(
        services,
        connection,
        person,
        event_key(request.event_id),
        "event.watch",
        WatchEvent(),
        EventSnapshot,
        lambda reply: (reply.epoch, reply.seq),
        limit=services.limits.max_rooms_per_connection + services.limits.max_topics_per_connection,
    )
    return Answer(
        {
            "eventId": snapshot.event_id,
            "epoch": snapshot.epoch,
            "seq": snapshot.seq,
            "attending": snapshot.attending,
            "interested": snapshot.interested,
            "waiting": snapshot.waiting,
            "capacity": snapshot.capacity,
            "status": snapshot.status,
        },
        backlog,
    )


async def leave_updates(services: Services, connection: Connection, person: Person, request: EventRequest) -> Answer:
    services.subscriptions.leave(connection, str(event_key(request.event_id)))
    return Answer({})


# --- connecting -------------------------------------------------------------------------------------------------------


async def admit(services: Services, connection: Connection, person: Person, request: ConnectRequest) -> None:
    known = services.subscriptions.join_known
    unknown = [
        topic for topic in await _topics(services, person, request) if not known(connection, str(topic_key(topic)))
    ]
    steps: list[Step] = [] if person.socket.is_attached else [attach_step(services, person)]
    steps.extend(partial(_watch_topic, services, connection, person, topic) for topic in unknown)
    await persist(services, connection, steps)


async def _topics(services: Services, person: Person, request: ConnectRequest) -> list[str]:
    coordinates, interests = request.location, request.interests
    if coordinates is None or interests is None:
        user = await services.users.by_id(person.user_id)
        if user is None:
            raise FlowError(UNAUTHENTICATED)
        coordinates = user.coordinates if coordinates is None else coordinates
        interests = user.interests if interests is None else interests
    topics = interest_topics(interests)
    return topics if coordinates is None else [location_topic(coordinates), *topics]


async def _watch_topic(services: Services, connection: Connection, person: Person, topic: str) -> None:
    _ = await join(
        services,
        connection,
        person,
        topic_key(topic),
        "topic.watch",
        WatchTopic(),
        Done,
        lambda reply: (0, 0),
        limit=services.limits.max_rooms_per_connection + services.limits.max_topics_per_connection,
    )


HANDLERS: Final[dict[str, Handler]] = {
    "event:interested": interested,
    "event:join_updates": join_updates,
    "event:leave_updates": leave_updates,
    "event:rsvp": rsvp,
}
