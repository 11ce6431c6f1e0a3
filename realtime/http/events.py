"""Events: made by any signed-in person, read by those who may see them, changed by their organizer.

A new public event is announced to the topics it belongs to; a change is told to the event's room, which tells its
watchers. Storage has it before anybody is told.
"""

import logging
from datetime import datetime
from typing import Any, Final

import msgspec

from actors.messages import Done, EventChanged
from cluster.kernel.errors import EVENT_NOT_FOUND, FORBIDDEN, INVALID_REQUEST, USER_NOT_FOUND, FlowError
from cluster.kernel.ids import event_key
from cluster.kernel.tasks import TaskOwner
from realtime.announcements import announce_event
from realtime.http import event_search
from realtime.http.event_access import Stored, organizer_of, visible_event
from realtime.http.event_document import EventDocument, event_document
from realtime.http.event_shapes import EventChanges, NewEvent
from realtime.http.fields import Nothing, milliseconds, tidy_tags
from realtime.http.operations import AnyOperation, Call, Operation
from realtime.router import Router
from storage.event_documents import to_wire

_log = logging.getLogger("flow.http")

_NO_LIMIT: Final = {"max": None}


class Making:
    """Making events, and telling of them after the answer: as topics go, what cannot be told now is lost."""

    def __init__(self, announcements: TaskOwner) -> None:
        self._announcements = announcements

    async def make(self, call: Call[NewEvent, Nothing]) -> EventDocument:
        context, body = call.context, call.body
        organizer = await context.storage.users.by_id(call.caller.user_id)
        if organizer is None:
            raise FlowError(USER_NOT_FOUND)
        document = _stored_form(msgspec.to_builtins(body, builtin_types=(datetime,)))
        document["organizer"] = {"id": organizer.id, "name": organizer.name, "type": "individual"}
        stored = await context.storage.events.create(document)
        if body.visibility == "public" and milliseconds(body.datetime.end) > context.clock.now_ms():
            self._announce(context.router, stored)
        return event_document(stored)

    def _announce(self, router: Router, stored: Stored) -> None:
        telling = announce_event(router, to_wire(stored))
        try:
            _ = self._announcements.start("announce", telling)
        except RuntimeError as error:
            _log.warning("an event was not announced: %s", error)


async def read(call: Call[Nothing, Nothing]) -> EventDocument:
    return event_document(await visible_event(call.context.storage, call.path["id"], call.caller.user_id))


async def change(call: Call[EventChanges, Nothing]) -> EventDocument:
    """When the room cannot be told, the answer says so though the change is stored: the same request again tells it."""
    context, event_id, given = call.context, call.path["id"], call.body.given()
    event = await visible_event(context.storage, event_id, call.caller.user_id)
    if organizer_of(event) != call.caller.user_id:
        raise FlowError(FORBIDDEN, "Only its organizer may change an event.")
    if not given:
        raise FlowError(INVALID_REQUEST, "There is nothing to change.", fields=("$",))
    changes = _stored_form(msgspec.to_builtins(call.body, builtin_types=(datetime,)))
    stored = await context.storage.events.update(event_id, changes)
    await context.router.command(
        call.caller.user_id,
        event_key(event_id),
        "event.changed",
        EventChanged(fields=given),
        Done,
        timeout_s=context.settings.command_timeout_s,
    )
    return event_document(stored)


def _stored_form(sent: dict[str, Any]) -> dict[str, Any]:
    """What a client sent, as storage keeps it."""
    if "title" in sent:
        sent["title"] = sent["title"].strip()
    if "tags" in sent:
        sent["tags"] = list(tidy_tags(tuple(sent["tags"])))
    if "category" in sent:
        sent["category"] = sent["category"].strip()
    if "capacity" in sent and sent["capacity"] is None:
        sent["capacity"] = dict(_NO_LIMIT)
    return sent


def operations(announcements: TaskOwner) -> tuple[AnyOperation, ...]:
    return (
        Operation(
            method="POST",
            path="/v1/events",
            summary="Make an event. You are its organizer.",
            tag="Events",
            handle=Making(announcements).make,
            body=NewEvent,
            query=Nothing,
            reply=EventDocument,
            status=201,
            location=lambda event: f"/v1/events/{event.id}",
        ),
        event_search.OPERATION,
        Operation(
            method="GET",
            path="/v1/events/{id}",
            summary="One event, if you may see it.",
            tag="Events",
            handle=read,
            body=Nothing,
            query=Nothing,
            reply=EventDocument,
            errors=(EVENT_NOT_FOUND, FORBIDDEN),
        ),
        Operation(
            method="PATCH",
            path="/v1/events/{id}",
            summary="Change an event you organize; whoever watches it is told.",
            tag="Events",
            handle=change,
            body=EventChanges,
            query=Nothing,
            reply=EventDocument,
            errors=(EVENT_NOT_FOUND, FORBIDDEN),
        ),
    )
