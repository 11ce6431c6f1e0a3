"""Who goes to an event: answering, and reading who does. The event's room decides; it owns the capacity."""

from typing import Literal

from actors.messages import AnswerRsvp, RsvpAnswer
from cluster.kernel.errors import EVENT_NOT_FOUND, EVENT_OVER, FORBIDDEN, REQUIREMENTS_NOT_MET
from cluster.kernel.ids import event_key
from realtime.http.event_access import visible_event
from realtime.http.fields import DEFAULT_PAGE, Answer, Id, Nothing, PageLimit, Strict
from realtime.http.operations import AnyOperation, Call, Operation
from realtime.http.user_shapes import Person, person


class RsvpRequest(Strict, frozen=True):
    status: Literal["going", "interested", "declined"]


class RsvpShown(Answer, frozen=True):
    """`status` is `waiting` for who wants to go to a full event; `place` is then the place in the line, from 1."""

    event_id: str
    status: str
    attending: int
    interested: int
    capacity: int | None
    place: int | None = None


class AttendeeQuery(Strict, frozen=True):
    limit: PageLimit = DEFAULT_PAGE
    cursor: Id | None = None


class Attendees(Answer, frozen=True):
    """In the order of their ids."""

    items: tuple[Person, ...]
    next: str | None


async def answer(call: Call[RsvpRequest, Nothing]) -> RsvpShown:
    told = await call.context.router.command(
        call.caller.user_id,
        event_key(call.path["id"]),
        "event.rsvp",
        AnswerRsvp(status=call.body.status),
        RsvpAnswer,
        timeout_s=call.context.settings.command_timeout_s,
    )
    await call.context.storage.user_features.acted(call.caller.user_id)
    return RsvpShown(
        event_id=told.event_id,
        status=told.status,
        attending=told.attending,
        interested=told.interested,
        capacity=told.capacity,
        place=told.place,
    )


async def attendees(call: Call[Nothing, AttendeeQuery]) -> Attendees:
    storage, limit = call.context.storage, call.query.limit
    event = await visible_event(storage, call.path["id"], call.caller.user_id)
    ids = await storage.rsvps.going(event["_id"], call.query.cursor, limit + 1)
    people = await storage.users.by_ids(ids[:limit])
    return Attendees(items=tuple(map(person, people)), next=ids[limit - 1] if len(ids) > limit else None)


OPERATIONS: tuple[AnyOperation, ...] = (
    Operation(
        method="POST",
        path="/v1/events/{id}/rsvp",
        summary="Say whether you go to an event. Going to a full one puts you in its line.",
        tag="Events",
        handle=answer,
        body=RsvpRequest,
        query=Nothing,
        reply=RsvpShown,
        errors=(EVENT_NOT_FOUND, FORBIDDEN, EVENT_OVER, REQUIREMENTS_NOT_MET),
    ),
    Operation(
        method="GET",
        path="/v1/events/{id}/attendees",
        summary="The people who go to an event.",
        tag="Events",
        handle=attendees,
        body=Nothing,
        query=AttendeeQuery,
        reply=Attendees,
        errors=(EVENT_NOT_FOUND, FORBIDDEN),
    ),
)
