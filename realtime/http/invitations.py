"""Invitations to an event: given, listed and taken back by its organizer. Who is invited sees the event and may answer.

The event's room reads them from storage whenever it decides, so nobody has to be told.
"""

from typing import Annotated, Any

from msgspec import Meta

from cluster.kernel.errors import EVENT_NOT_FOUND, FORBIDDEN, NOT_FOUND, USER_NOT_FOUND, FlowError
from cluster.kernel.ids import is_id
from realtime.http.event_access import organizer_of, visible_event
from realtime.http.fields import DEFAULT_PAGE, Answer, Id, Nothing, PageLimit, Strict
from realtime.http.operations import AnyOperation, Call, Operation
from realtime.http.user_shapes import Person, person


class NewInvitations(Strict, frozen=True):
    """Up to 100 people at once. Who is invited already stays so."""

    user_ids: Annotated[tuple[Id, ...], Meta(min_length=1, max_length=100)]


class InvitationQuery(Strict, frozen=True):
    limit: PageLimit = DEFAULT_PAGE
    cursor: Id | None = None


class Invited(Answer, frozen=True):
    """In the order of their ids."""

    items: tuple[Person, ...]
    next: str | None


async def invite(call: Call[NewInvitations, Nothing]) -> Nothing:
    """All of them or, when one does not exist, nobody."""
    event_id = await _own_event(call)
    people = tuple(dict.fromkeys(call.body.user_ids))
    if len(await call.context.storage.users.by_ids(people)) < len(people):
        raise FlowError(USER_NOT_FOUND, "There is no user with one of these ids.", fields=("userIds",))
    now_ms = call.context.clock.now_ms()
    await call.context.storage.invitations.invite(event_id, people, call.caller.user_id, now_ms)
    return Nothing()


async def list_invited(call: Call[Nothing, InvitationQuery]) -> Invited:
    storage, limit = call.context.storage, call.query.limit
    ids = await storage.invitations.invited(await _own_event(call), call.query.cursor, limit + 1)
    people = await storage.users.by_ids(ids[:limit])
    return Invited(items=tuple(map(person, people)), next=ids[limit - 1] if len(ids) > limit else None)


async def withdraw(call: Call[Nothing, Nothing]) -> Nothing:
    """Safe to repeat. Who has answered already keeps that answer, and so still sees the event."""
    event_id, user_id = await _own_event(call), call.path["userId"]
    if not is_id(user_id):
        raise FlowError(NOT_FOUND, fields=("userId",))
    await call.context.storage.invitations.withdraw(event_id, user_id)
    return Nothing()


async def _own_event(call: Call[Any, Any]) -> str:
    event_id = call.path["id"]
    event = await visible_event(call.context.storage, event_id, call.caller.user_id)
    if organizer_of(event) != call.caller.user_id:
        raise FlowError(FORBIDDEN, "Only its organizer may invite people to an event.")
    return event_id


_REFUSED = (EVENT_NOT_FOUND, FORBIDDEN)

OPERATIONS: tuple[AnyOperation, ...] = (
    Operation(
        method="POST",
        path="/v1/events/{id}/invitations",
        summary="Invite people to an event you organize.",
        tag="Events",
        handle=invite,
        body=NewInvitations,
        query=Nothing,
        reply=Nothing,
        errors=(*_REFUSED, USER_NOT_FOUND),
    ),
    Operation(
        method="GET",
        path="/v1/events/{id}/invitations",
        summary="Whom you invited to an event you organize.",
        tag="Events",
        handle=list_invited,
        body=Nothing,
        query=InvitationQuery,
        reply=Invited,
        errors=_REFUSED,
    ),
    Operation(
        method="DELETE",
        path="/v1/events/{id}/invitations/{userId}",
        summary="Take an invitation back.",
        tag="Events",
        handle=withdraw,
        body=Nothing,
        query=Nothing,
        reply=Nothing,
        errors=_REFUSED,
    ),
)
