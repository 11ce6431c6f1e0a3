"""What people did with events: the signals that recommenders learn from, and that make an event trend.

Stored in batches; a repeated batch changes nothing. Clients may tell some of the actions that training knows; what an
action weighs is never theirs to say.
"""

from typing import Annotated, Any, Final, Literal

from msgspec import Meta

from cluster.kernel.errors import EVENT_NOT_FOUND, INVALID_REQUEST, FlowError
from realtime.http.event_access import is_visible
from realtime.http.fields import Answer, Id, Moment, Nothing, Strict, milliseconds
from realtime.http.operations import AnyOperation, Call, Operation
from serve_apps.contracts import ACTION_WEIGHTS, InteractionRow

MAX_BATCH: Final = 100
MAX_AGE_MS: Final = 7 * 86_400_000
_MAX_SKEW_MS: Final = 60_000

Action = Literal["view", "click", "share", "interested", "attend", "dismiss"]


class Interaction(Strict, frozen=True):
    """`at` is when it happened, for clients that were offline: at most a week ago. Left out, it is now."""

    event_id: Id
    action: Action
    at: Moment | None = None


class Interactions(Strict, frozen=True):
    """One interaction as `eventId` and `action`, or up to 100 as `items`."""

    event_id: Id | None = None
    action: Action | None = None
    at: Moment | None = None
    items: Annotated[tuple[Interaction, ...], Meta(max_length=MAX_BATCH)] = ()

    def all(self) -> tuple[Interaction, ...]:
        """Raises FlowError INVALID_REQUEST unless it is either one or several."""
        one = (self.event_id, self.action)
        if self.items and one == (None, None) and self.at is None:
            return self.items
        if self.items or self.event_id is None or self.action is None:
            fields = ("eventId", "action", "items")
            raise FlowError(INVALID_REQUEST, "Give eventId and action, or items.", fields=fields)
        return (Interaction(event_id=self.event_id, action=self.action, at=self.at),)


class Recorded(Answer, frozen=True):
    """`recorded` are new; `repeated` were there before; `ignored` name an event that is not there for this person."""

    recorded: int
    repeated: int
    ignored: int


async def record(call: Call[Interactions, Nothing]) -> Recorded:
    given = call.body.all()
    known = await _visible_ids(call, tuple(dict.fromkeys(item.event_id for item in given)))
    if not known:
        raise FlowError(EVENT_NOT_FOUND)
    now_ms = call.context.clock.now_ms()
    rows = [_row(call.caller.user_id, item, now_ms) for item in given if item.event_id in known]
    recorded = await call.context.storage.interactions.import_rows(rows)
    if recorded:
        await call.context.storage.user_features.acted(call.caller.user_id)
    return Recorded(recorded=recorded, repeated=len(rows) - recorded, ignored=len(given) - len(rows))


async def _visible_ids(call: Call[Any, Any], event_ids: tuple[str, ...]) -> set[str]:
    storage, user_id = call.context.storage, call.caller.user_id
    events = await storage.events.by_ids(event_ids)
    return {event["_id"] for event in events if await is_visible(storage, event, user_id)}


def _row(user_id: str, item: Interaction, now_ms: int) -> InteractionRow:
    at_ms = now_ms if item.at is None else milliseconds(item.at)
    if not now_ms - MAX_AGE_MS <= at_ms <= now_ms + _MAX_SKEW_MS:
        raise FlowError(INVALID_REQUEST, "at must be within the last week.", fields=("at",))
    return InteractionRow(user_id, item.event_id, item.action, ACTION_WEIGHTS[item.action], min(at_ms, now_ms))


OPERATIONS: tuple[AnyOperation, ...] = (
    Operation(
        method="POST",
        path="/v1/interactions",
        summary="Tell what you did with events; it is what recommendations learn from.",
        tag="Recommendations",
        handle=record,
        body=Interactions,
        query=Nothing,
        reply=Recorded,
        errors=(EVENT_NOT_FOUND,),
    ),
)
